import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { Message } from "im-client";
import type { Person } from "../directory";
import { t } from "../i18n";
import { useModel } from "../model";
import { Empty, PersonRow } from "../parts/basics";
import { contentText } from "../summary";
import { brief } from "../times";

interface Found {
  query: string;
  people: Person[];
  messages: Message[];
}

// After the last key.
const PAUSE_MS = 200;

export function SearchResults(props: { query: string; onChosen: () => void }): JSX.Element {
  const model = useModel();
  const { client, directory, me } = model;
  const [found, setFound] = useState<Found | null>(null);
  useEffect(() => {
    let isOld = false;
    const ask = async (): Promise<void> => {
      const q = props.query;
      const [people, messages] = await Promise.all([
        client.http.get("/v1/users", { q, limit: 20 }).catch(() => ({ items: [] })),
        client.http.get("/v1/messages/search", { q, limit: 30 }).catch(() => ({ items: [] })),
      ]);
      if (isOld) return;
      directory.learn(people.items);
      setFound({ query: q, people: people.items, messages: messages.items });
    };
    const timer = window.setTimeout(() => void ask(), PAUSE_MS);
    return () => {
      isOld = true;
      clearTimeout(timer);
    };
  }, [props.query]);

  const choose = (conversation: string, seq?: number): void => {
    props.onChosen();
    model.openChat(conversation, seq);
  };
  const wanted = props.query.toLowerCase();
  const groups = [...directory.groups.values()].filter((group) => group.name.toLowerCase().includes(wanted));
  const people = (found?.people ?? []).filter((person) => person.user_id !== me);
  const messages = found?.messages ?? [];
  const isNothing = found?.query === props.query && !groups.length && !people.length && !messages.length;
  return (
    <div class="results" role="region" aria-label={t("search")} aria-busy={found?.query !== props.query}>
      {isNothing && <Empty icon="search" title={t("nothing_found")} hint={t("nothing_found_hint")} />}
      {people.length > 0 && <h2>{t("people")}</h2>}
      <ul>
        {people.map((person) => (
          <PersonRow
            key={person.user_id}
            id={person.user_id}
            name={person.nickname || person.username}
            detail={`@${person.username}`}
            online={directory.presences.get(person.user_id)?.online}
            onClick={() => choose(client.conversationWith(person.user_id))}
          />
        ))}
      </ul>
      {groups.length > 0 && <h2>{t("groups")}</h2>}
      <ul>
        {groups.map((group) => (
          <PersonRow
            key={group.group_id}
            id={group.group_id}
            name={group.name}
            detail={t("members", { count: group.member_count })}
            isGroup
            onClick={() => choose(client.conversationOf(group.group_id))}
          />
        ))}
      </ul>
      {messages.length > 0 && <h2>{t("in_messages")}</h2>}
      <ul>
        {messages.map((message) => (
          <PersonRow
            key={message.message_id}
            id={directory.otherOf(message.conversation_id) ?? Number(message.conversation_id.slice(2))}
            isGroup={Boolean(message.group_id)}
            name={`${directory.title(message.conversation_id)} · ${brief(message.timestamp)}`}
            detail={contentText(message)}
            onClick={() => choose(message.conversation_id, message.seq)}
          />
        ))}
      </ul>
    </div>
  );
}
