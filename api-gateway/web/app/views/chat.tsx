import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Conversation, Message } from "im-client";
import { t } from "../i18n";
import { useClientEvents, useListeners, useModel, type Model } from "../model";
import { Avatar, Empty, IconButton } from "../parts/basics";
import { moveByArrows } from "../parts/focus";
import { VirtualList } from "../parts/virtual";
import { summary } from "../summary";
import { full } from "../times";
import { Composer } from "./composer";
import { MessageItem, itemsOf, type Item } from "./item";
import { Uploads } from "../uploads";

const PAGE = 100;
// To a message that was found far up.
const MOST_PAGES = 100;

export function ChatView(props: { id: string }): JSX.Element {
  const model = useModel();
  const { client, directory } = model;
  const { id } = props;
  const conversation = client.conversation(id);
  const [toEnd, setToEnd] = useState(0);
  const [uploads] = useState(() => new Uploads(client, id));
  const [replyTo, setReplyTo] = useState<Message | null>(null);
  const view = useRef<HTMLDivElement>(null);
  const [isAtEnd, setAtEnd] = useState(true);
  const [firstUnread] = useState(() => (conversation.unread ? conversation.readSeq + 1 : 0));
  const loader = useLoader(model, conversation);
  const goTo = useJump(model, conversation, loader.load);
  useListeners(model.changed, directory.changed, uploads.changed);
  useClientEvents(["conversation"], (changed) => changed === id, [id]);
  useClientEvents(["state"]);
  useMembers(model, id);
  useReading(model, conversation, isAtEnd);
  const goToEnd = (): void => {
    setAtEnd(true);
    setToEnd((count) => count + 1);
  };
  const items = itemsOf(conversation.messages, client.pending(id), uploads.list, firstUnread);
  return (
    <div class="chat" ref={view} onKeyDown={(event) => moveAmongMessages(event, view.current!)} {...dropTarget((files) => uploads.add(files))}>
      <ChatHeader id={id} />
      {items.length === 0 ? (
        <div class="messages">{loader.isBusy ? null : <Empty icon="chats" title={t("no_messages")} />}</div>
      ) : (
        <VirtualList<Item>
          class="messages"
          label={t("messages")}
          items={items}
          keyOf={(item) => item.key}
          estimate={60}
          isLog
          goTo={goTo}
          toEnd={toEnd}
          onNearTop={loader.load}
          onAtEnd={setAtEnd}
          canStop={(item) => item.message?.content_type !== "system"}
          render={(item, isStop) => (
            <MessageItem
              item={item}
              conversation={conversation}
              uploads={uploads}
              isFound={item.key === goTo}
              isStop={isStop}
              onReply={setReplyTo}
            />
          )}
        />
      )}
      {!isAtEnd && (
        <IconButton icon="down" label={t("to_end")} class="to-end" onClick={goToEnd} />
      )}
      <Typists id={id} />
      <Announcer conversation={conversation} />
      <Composer
        id={id}
        replyTo={replyTo}
        onReplied={() => setReplyTo(null)}
        onFiles={(files) => uploads.add(files)}
        onSent={goToEnd}
      />
    </div>
  );
}

/** Older messages, asked for once at a time. */
function useLoader(model: Model, conversation: Conversation): { load: () => Promise<boolean>; isBusy: boolean } {
  const [isBusy, setBusy] = useState(true);
  const asking = useRef<Promise<boolean> | null>(null);
  const load = (): Promise<boolean> => {
    if (conversation.isComplete) return Promise.resolve(false);
    asking.current ??= model.client
      .older(conversation.id, PAGE)
      .then((count) => count > 0)
      .catch(async () => {
        await new Promise((resolve) => setTimeout(resolve, 2_000));
        return false;
      })
      .finally(() => {
        asking.current = null;
        setBusy(false);
      });
    return asking.current;
  };
  useEffect(() => {
    void model.client.open(conversation.id).then(() => {
      if (conversation.messages.length < PAGE / 2) void load();
      else setBusy(false);
    });
  }, [conversation]);
  return { load, isBusy };
}

/** The key of a message that was asked for, as soon as it is here. */
function useJump(model: Model, conversation: Conversation, load: () => Promise<boolean>): string | undefined {
  const [key, setKey] = useState<string>();
  const seq = model.place.kind === "chats" ? model.place.seq : undefined;
  useEffect(() => {
    if (!seq) return;
    void (async () => {
      for (let page = 0; page < MOST_PAGES && !((conversation.messages[0]?.seq ?? Infinity) <= seq); page += 1) {
        if (!(await load())) break;
      }
      setKey(`m${seq}`);
    })();
  }, [conversation, seq]);
  return key;
}

// Presence is told of friends; of others it is asked.
const PRESENCE_MS = 60_000;

function useMembers(model: Model, id: string): void {
  useEffect(() => {
    const other = model.directory.otherOf(id);
    if (other) {
      const ask = (): void => void (document.hidden || model.directory.askPresence([other]));
      ask();
      const timer = window.setInterval(ask, PRESENCE_MS);
      return () => clearInterval(timer);
    }
    const groupId = Number(id.slice(2));
    model.directory.loadGroup(groupId).catch(() => {});
    model.directory.loadMembers(groupId).catch(() => {});
  }, [id]);
}

/** What is on the screen, in a page that is looked at, is read. */
function useReading(model: Model, conversation: Conversation, isAtEnd: boolean): void {
  useEffect(() => {
    const read = (): void => {
      if (document.hidden || !isAtEnd || conversation.lastSeq <= conversation.readSeq) return;
      void model.client.markRead(conversation.id, conversation.lastSeq);
    };
    read();
    document.addEventListener("visibilitychange", read);
    return () => document.removeEventListener("visibilitychange", read);
  });
}

function ChatHeader(props: { id: string }): JSX.Element {
  const model = useModel();
  const { directory } = model;
  const other = directory.otherOf(props.id);
  const groupId = other ? 0 : Number(props.id.slice(2));
  const title = directory.title(props.id);
  const show = (): void => model.show(other ? { kind: "person", userId: other } : { kind: "group", groupId });
  return (
    <header class="chat-header">
      <IconButton icon="back" label={t("back")} class="phone-only" onClick={() => model.go({ kind: "chats" })} />
      <Avatar id={other ?? groupId} name={title} isGroup={!other} online={other ? directory.presences.get(other)?.online : false} />
      <div class="row-text">
        <h1 class="row-name">{title}</h1>
        <span class="row-detail">{other ? presenceText(model, other) : groupText(model, groupId)}</span>
      </div>
      <IconButton icon="info" label={t("info")} onClick={show} />
    </header>
  );
}

export function presenceText(model: Model, userId: number): string {
  if (userId === model.me) return t("you");
  const presence = model.directory.presences.get(userId);
  if (presence?.online) return t("online");
  return presence?.last_seen ? t("last_seen", { when: full(presence.last_seen) }) : t("offline");
}

function groupText(model: Model, groupId: number): string {
  const group = model.directory.groups.get(groupId);
  return group ? t("members", { count: group.member_count }) : "";
}

function Typists(props: { id: string }): JSX.Element {
  const model = useModel();
  const groupId = props.id.startsWith("g:") ? Number(props.id.slice(2)) : undefined;
  const names = model.typists(props.id).map((who) => model.directory.name(who, groupId));
  return <p class="typists">{names.length > 0 && t("typing", { name: names.slice(0, 3).join(", ") })}</p>;
}

// Those that come before the first is read out are read out, too.
const ANNOUNCED = 5;

/** Tells a screen reader what comes in. */
function Announcer(props: { conversation: Conversation }): JSX.Element {
  const { directory, me } = useModel();
  const [begin] = useState(props.conversation.lastSeq);
  const last = props.conversation.messages.slice(-ANNOUNCED);
  return (
    <div class="hidden" role="log" aria-live="polite" aria-label={t("unread_below")}>
      {last
        .filter((message) => message.seq > begin && message.from !== me)
        .map((message) => (
          <p key={message.seq}>
            {directory.name(message.from, message.group_id)}: {summary(message, directory, me, false)}
          </p>
        ))}
    </div>
  );
}

/** Up and down go from message to message, and past the last one to where one writes, as Escape does. */
function moveAmongMessages(event: KeyboardEvent, view: HTMLElement): void {
  const at = event.target as HTMLElement;
  const box = view.querySelector<HTMLTextAreaElement>("textarea");
  const isInMessages = Boolean(at.closest(".virtual"));
  const isTyping = at.matches("article") && /^[^ ]$/u.test(event.key) && !event.ctrlKey && !event.metaKey && !event.altKey;
  if (isInMessages && (event.key === "Escape" || isTyping)) box?.focus();
  else if (isInMessages || (at === box && event.key === "ArrowUp" && !box.value)) moveByArrows(event, view);
}

interface DropTarget {
  onDragOver: (event: DragEvent) => void;
  onDrop: (event: DragEvent) => void;
}

function dropTarget(take: (files: File[]) => void): DropTarget {
  return {
    onDragOver: (event) => event.preventDefault(),
    onDrop: (event) => {
      event.preventDefault();
      const files = [...(event.dataTransfer?.files ?? [])];
      if (files.length) take(files);
    },
  };
}
