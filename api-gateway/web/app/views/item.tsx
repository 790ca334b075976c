import type { JSX } from "preact";
import { useState } from "preact/hooks";
import type { Conversation, Message, Pending } from "im-client";
import { explain, t } from "../i18n";
import { useModel } from "../model";
import { Avatar, IconButton } from "../parts/basics";
import { contentText, recalledText, systemText } from "../summary";
import { clock, day, dayOf, full } from "../times";
import type { Upload, Uploads } from "../uploads";
import { Content } from "./content";
import { Menu, type Choice } from "./menu";
import { StateMark, type SendState } from "./marks";

export interface Item {
  key: string;
  message?: Message;
  pending?: Pending;
  upload?: Upload;
  /** The first of its day. */
  isNewDay: boolean;
  /** Of somebody else than the one before, or much later. */
  isNewSender: boolean;
  isFirstUnread: boolean;
}

const PAUSE_MS = 5 * 60_000;
// The server's default; it has the last word.
const RECALL_MS = 2 * 60_000;
const LAST = -1;

/** A conversation as rows: messages, then what is on its way. */
export function itemsOf(messages: readonly Message[], pending: Pending[], uploads: Upload[], firstUnread: number): Item[] {
  const items: Item[] = [];
  let before = { from: 0, at: 0, isSystem: true };
  const add = (key: string, from: number, at: number, isSystem: boolean, what: Partial<Item>): void => {
    const isNewDay = dayOf(at) !== dayOf(before.at);
    const isNewSender = isNewDay || from !== before.from || before.isSystem || at - before.at > PAUSE_MS;
    items.push({ key, isNewDay, isNewSender, isFirstUnread: what.message?.seq === firstUnread, ...what });
    before = { from, at, isSystem };
  };
  for (const message of messages) {
    add(`m${message.seq}`, message.from, message.timestamp, message.content_type === "system", { message });
  }
  for (const one of pending) add(one.client_msg_id, LAST, one.created_at, false, { pending: one });
  for (const one of uploads) add(`u${one.id}`, LAST, one.startedAt, false, { upload: one });
  return items;
}

interface Props {
  item: Item;
  conversation: Conversation;
  uploads: Uploads;
  isFound: boolean;
  /** The tab key comes to it. */
  isStop: boolean;
  onReply: (message: Message) => void;
}

export function MessageItem(props: Props): JSX.Element {
  const { item } = props;
  const model = useModel();
  const at = item.message?.timestamp ?? item.pending?.created_at ?? item.upload!.startedAt;
  return (
    <>
      {item.isNewDay && (
        <p class="day">
          <span>{day(at)}</span>
        </p>
      )}
      {item.isFirstUnread && (
        <p class="unread-line">
          <span>{t("unread_below")}</span>
        </p>
      )}
      {item.message?.content_type === "system" ? (
        <p class="system">{systemText(item.message, model.directory, model.me)}</p>
      ) : item.message ? (
        <Stored {...props} message={item.message} />
      ) : item.pending ? (
        <Waiting item={item} pending={item.pending} isStop={props.isStop} />
      ) : (
        <Uploading upload={item.upload!} uploads={props.uploads} isStop={props.isStop} />
      )}
    </>
  );
}

function Stored(props: Props & { message: Message }): JSX.Element {
  const { message, item, conversation } = props;
  const model = useModel();
  const [isOpen, setOpen] = useState(false);
  const isMine = message.from === model.me;
  const tabIndex = props.isStop ? 0 : -1;
  const name = model.directory.name(message.from, message.group_id);
  const said = message.recalled ? recalledText(message, model.directory, model.me) : contentText(message);
  const showName = !isMine && conversation.isGroup && item.isNewSender;
  const classes = ["bubble-row", isMine && "mine", item.isNewSender && "first", props.isFound && "found"];
  return (
    <article
      class={classes.filter(Boolean).join(" ")}
      aria-label={`${isMine ? t("you") : name}, ${full(message.timestamp)}: ${said}`}
      data-stop
      tabIndex={tabIndex}
      onKeyDown={(event) => {
        if (event.key === "Enter" && event.target === event.currentTarget) setOpen(!message.recalled);
      }}
    >
      {!isMine && conversation.isGroup && (
        <span class="bubble-avatar">
          {item.isNewSender && (
            <button type="button" class="bare" aria-label={name} onClick={() => model.show({ kind: "person", userId: message.from })}>
              <Avatar id={message.from} name={name} />
            </button>
          )}
        </span>
      )}
      <div class={`bubble ${message.recalled ? "recalled" : ""}`} onContextMenu={(event) => (event.preventDefault(), setOpen(true))}>
        {showName && <span class={`bubble-name hue-text-${message.from % 8}`}>{name}</span>}
        {message.recalled ? (
          <em>{said}</em>
        ) : (
          <>
            {message.reply_to && <Quote id={message.reply_to} conversation={conversation} />}
            <Content message={message} />
          </>
        )}
        <span class="bubble-foot">
          <time dateTime={new Date(message.timestamp).toISOString()}>{clock(message.timestamp)}</time>
          {isMine && !message.recalled && <StateMark state={conversation.stateOf(message) as SendState} />}
        </span>
      </div>
      {!message.recalled && (
        <Menu label={t("more")} isOpen={isOpen} onOpen={setOpen} tabIndex={tabIndex} choices={choices(props, model, isMine)} />
      )}
    </article>
  );
}

function choices(props: Props & { message: Message }, model: ReturnType<typeof useModel>, isMine: boolean): Choice[] {
  const { message, conversation } = props;
  const groupId = message.group_id;
  const role = groupId ? model.directory.members.get(groupId)?.get(model.me)?.role : undefined;
  const mayRecall = (isMine && Date.now() - message.timestamp < RECALL_MS) || role === "owner" || role === "admin";
  const isText = message.content_type === "text";
  return [
    { label: t("reply"), run: () => props.onReply(message) },
    ...(isText ? [{ label: t("copy"), run: () => void navigator.clipboard?.writeText(message.content) }] : []),
    ...(isMine && conversation.isGroup
      ? [{ label: t("read_by"), run: () => model.show({ kind: "readers", groupId: groupId!, seq: message.seq }) }]
      : []),
    ...(mayRecall
      ? [{ label: t("recall"), isDanger: true, run: () => void model.try(() => model.client.recall(message.message_id)) }]
      : []),
  ];
}

function Quote(props: { id: string; conversation: Conversation }): JSX.Element {
  const model = useModel();
  const { messages } = props.conversation;
  const original = messages.findLast((message) => message.message_id === props.id);
  if (!original) return <p class="quote">{t("earlier")}</p>;
  return (
    <button type="button" class="quote" onClick={() => model.openChat(original.conversation_id, original.seq)}>
      <strong>{original.from === model.me ? t("you") : model.directory.name(original.from, original.group_id)}</strong>
      <span>{original.recalled ? recalledText(original, model.directory, model.me) : contentText(original)}</span>
    </button>
  );
}

function Waiting(props: { item: Item; pending: Pending; isStop: boolean }): JSX.Element {
  const { pending, item } = props;
  const { client } = useModel();
  const content = { ...pending.frame, content_type: pending.frame.content_type ?? "text" };
  const isFailed = pending.state === "failed";
  return (
    <article
      class={`bubble-row mine ${item.isNewSender ? "first" : ""} ${isFailed ? "failed" : ""}`}
      aria-label={`${t(`state_${pending.state}`)}: ${contentText(content)}`}
      data-stop
      tabIndex={props.isStop ? 0 : -1}
    >
      <div class="bubble">
        <Content message={content} />
        <span class="bubble-foot">
          <time>{clock(pending.created_at)}</time>
          <StateMark state={pending.state} />
        </span>
      </div>
      {isFailed && (
        <p class="failure">
          <span role="alert">{pending.error && explain(pending.error)}</span>
          <button type="button" class="link" onClick={() => void client.retry(pending.client_msg_id)}>
            {t("retry")}
          </button>
          <button type="button" class="link" onClick={() => void client.discard(pending.client_msg_id)}>
            {t("discard")}
          </button>
        </p>
      )}
    </article>
  );
}

function Uploading(props: { upload: Upload; uploads: Uploads; isStop: boolean }): JSX.Element {
  const { upload, uploads } = props;
  const label = t("uploading", { name: upload.file.name });
  return (
    <article class="bubble-row mine first" aria-label={label} data-stop tabIndex={props.isStop ? 0 : -1}>
      <div class="bubble upload">
        <span role={upload.problem ? "alert" : undefined}>{upload.problem ? t("upload_failed", { name: upload.file.name, why: upload.problem }) : label}</span>
        {upload.problem ? (
          <button type="button" class="link" onClick={() => uploads.retry(upload)}>
            {t("retry")}
          </button>
        ) : (
          <progress max="1" value={upload.part} aria-label={label} />
        )}
        <IconButton icon="close" label={t("cancel")} onClick={() => uploads.cancel(upload)} />
      </div>
    </article>
  );
}
