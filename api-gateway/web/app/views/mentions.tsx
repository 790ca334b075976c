// `@` and the beginning of a name.

import type { JSX } from "preact";
import { t } from "../i18n";
import { useModel } from "../model";
import { Avatar } from "../parts/basics";

export interface Mentionable {
  who: number | "all";
  name: string;
}

const MOST = 6;

/** Whom a message to the conversation may name. */
export function useMentionable(id: string): Mentionable[] {
  const { directory, me } = useModel();
  if (!id.startsWith("g:")) return [];
  const groupId = Number(id.slice(2));
  const members = directory.members.get(groupId);
  if (!members) return [];
  const role = members.get(me)?.role;
  const people: Mentionable[] = [...members.keys()]
    .filter((who) => who !== me)
    .map((who) => ({ who, name: directory.name(who, groupId) }));
  if (role === "owner" || role === "admin") people.push({ who: "all", name: t("everybody") });
  return people;
}

/** The `@…` that is being typed before the caret, and whom it may mean. */
export function mentionAt(text: string, caret: number, people: Mentionable[]): { from: number; found: Mentionable[] } | null {
  const from = text.lastIndexOf("@", caret - 1);
  if (from < 0 || (from > 0 && !/\s/.test(text[from - 1]!))) return null;
  const typed = text.slice(from + 1, caret).toLowerCase();
  if (typed.length > 32 || typed.includes("\n")) return null;
  const found = people.filter((person) => person.name.toLowerCase().startsWith(typed)).slice(0, MOST);
  return found.length ? { from, found } : null;
}

export function mentionsIn(text: string, people: Mentionable[]): (number | "all")[] {
  return people.filter((person) => text.includes(`@${person.name}`)).map((person) => person.who);
}

/** What the arrows of the text box move in; `at` is the one that Enter takes. */
export const CHOICES = "mention-choices";

export function choiceId(at: number): string {
  return `${CHOICES}-${at}`;
}

export function MentionChoices(props: {
  found: Mentionable[];
  at: number;
  onChoose: (person: Mentionable) => void;
}): JSX.Element {
  return (
    <ul class="mention-choices" id={CHOICES} role="listbox" aria-label={t("people")}>
      {props.found.map((person, index) => (
        <li
          key={person.who}
          id={choiceId(index)}
          role="option"
          aria-selected={index === props.at}
          // So that the text box keeps the focus.
          onMouseDown={(event) => event.preventDefault()}
          onClick={() => props.onChoose(person)}
        >
          <Avatar id={person.who === "all" ? 0 : person.who} name={person.name} isGroup={person.who === "all"} />
          {person.name}
        </li>
      ))}
    </ul>
  );
}
