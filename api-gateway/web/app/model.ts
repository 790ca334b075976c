// What the views share: the client, who is who, and what is open.

import { createContext } from "preact";
import { useContext, useEffect, useState } from "preact/hooks";
import type { Events, ImClient } from "im-client";
import { Directory } from "./directory";
import { Listeners } from "./listeners";
import { explain } from "./i18n";

export type Place =
  | { kind: "chats"; conversation?: string; seq?: number }
  | { kind: "contacts" }
  | { kind: "settings" };

export type Dialog =
  | { kind: "person"; userId: number }
  | { kind: "group"; groupId: number }
  | { kind: "new-group" }
  | { kind: "join-group" }
  | { kind: "readers"; groupId: number; seq: number }
  | { kind: "picture"; url: string; name: string };

export class Model {
  readonly changed = new Listeners();
  readonly directory: Directory;
  place: Place = { kind: "chats" };
  dialog: Dialog | null = null;
  /** A line that goes away by itself. */
  notice = "";
  /** Whether it says what went wrong. */
  isProblem = false;
  /** Who is typing, by conversation: user id to when it ends. */
  readonly typing = new Map<string, Map<number, number>>();
  readonly me: number;
  #noticeTimer = 0;
  #ends: (() => void)[];

  constructor(readonly client: ImClient) {
    this.me = client.userId ?? 0;
    this.directory = new Directory(client);
    this.#ends = [
      client.on("typing", ({ conversation_id: id, user_id: who }) => this.#typed(id, who)),
      client.on("message", (message) => this.#stopped(message.conversation_id, message.from)),
      client.on("error", (error) => this.say(explain(error), true)),
    ];
  }

  close(): void {
    clearTimeout(this.#noticeTimer);
    this.directory.close();
    this.#ends.forEach((end) => end());
  }

  go(place: Place): void {
    this.place = place;
    this.dialog = null;
    // It was about what is left now.
    this.notice = "";
    this.changed.tell();
  }

  openChat(conversation: string, seq?: number): void {
    this.go({ kind: "chats", conversation, seq });
  }

  show(dialog: Dialog | null): void {
    this.dialog = dialog;
    this.changed.tell();
  }

  say(text: string, isProblem = false): void {
    this.notice = text;
    this.isProblem = isProblem;
    clearTimeout(this.#noticeTimer);
    this.#noticeTimer = window.setTimeout(() => {
      this.notice = "";
      this.changed.tell();
    }, 6_000);
    this.changed.tell();
  }

  /** Runs it, and says what went wrong. Gives whether it went well. */
  async try(task: () => Promise<unknown>): Promise<boolean> {
    try {
      await task();
      return true;
    } catch (error) {
      this.say(explain(error), true);
      return false;
    }
  }

  typists(conversation: string): number[] {
    const now = Date.now();
    return [...(this.typing.get(conversation) ?? [])].filter(([, end]) => end > now).map(([who]) => who);
  }

  #typed(conversation: string, who: number): void {
    const typists = this.typing.get(conversation) ?? new Map<number, number>();
    typists.set(who, Date.now() + 5_000);
    this.typing.set(conversation, typists);
    this.changed.tell();
    window.setTimeout(() => this.changed.tell(), 5_050);
  }

  #stopped(conversation: string, who: number): void {
    if (this.typing.get(conversation)?.delete(who)) this.changed.tell();
  }
}

export const ModelContext = createContext<Model>(null as unknown as Model);

export function useModel(): Model {
  return useContext(ModelContext);
}

/** Draws again when something tells; many tellings before the next frame are one. */
export function useListeners(...sources: Listeners[]): void {
  const [, again] = useState(0);
  useEffect(() => {
    let frame = 0;
    const tell = (): void => {
      frame ||= requestAnimationFrame(() => {
        frame = 0;
        again((count) => count + 1);
      });
    };
    const ends = sources.map((source) => source.add(tell));
    return () => {
      cancelAnimationFrame(frame);
      ends.forEach((end) => end());
    };
  }, sources);
}

/** Draws again at events of the client that concern the view. */
export function useClientEvents<Name extends keyof Events>(
  names: Name[],
  concerns: (value: Events[Name]) => boolean = () => true,
  keys: unknown[] = [],
): void {
  const { client } = useModel();
  const [, again] = useState(0);
  useEffect(() => {
    const tell = (value: Events[Name]): void => {
      if (concerns(value)) again((count) => count + 1);
    };
    const ends = names.map((name) => client.on(name, tell));
    return () => ends.forEach((end) => end());
  }, [client, ...keys]);
}
