import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Message, More } from "im-client";
import { t } from "../i18n";
import { useModel, type Model } from "../model";
import { IconButton } from "../parts/basics";
import { isWide } from "../parts/focus";
import { contentText } from "../summary";
import { CHOICES, MentionChoices, choiceId, mentionAt, mentionsIn, useMentionable, type Mentionable } from "./mentions";

interface Props {
  id: string;
  replyTo: Message | null;
  onReplied: () => void;
  onFiles: (files: File[]) => void;
  onSent: () => void;
}

const TYPING_MS = 3_000;
const DRAFT_MS = 400;

export function Composer(props: Props): JSX.Element {
  const model = useModel();
  const { client } = model;
  const { id, replyTo } = props;
  const box = useRef<HTMLTextAreaElement>(null);
  const [text, setText] = useState(client.conversation(id).draft);
  const [caret, setCaret] = useState(text.length);
  const people = useMentionable(id);
  const told = useRef(0);
  useDraft(model, id, text);
  useEffect(() => {
    // There is none where one may not write.
    if (box.current) grow(box.current);
  }, [text]);
  useEffect(() => {
    if (replyTo || isWide()) box.current?.focus();
  }, [id, replyTo]);

  const send = (): void => {
    const content = text.trim();
    if (!content) return;
    const more: More = {};
    if (replyTo) more.reply_to = replyTo.message_id;
    const mentions = mentionsIn(content, people);
    if (mentions.length) more.mentions = mentions;
    void model.try(() => client.send(id, content, more));
    setText("");
    told.current = 0;
    props.onReplied();
    props.onSent();
    box.current?.focus();
  };
  const type = (element: HTMLTextAreaElement): void => {
    setText(element.value);
    setChosen(0);
    setCaret(element.selectionStart);
    if (element.value && Date.now() - told.current > TYPING_MS) {
      told.current = Date.now();
      client.typing(id);
    }
  };
  const [chosen, setChosen] = useState(0);
  const [refused, setRefused] = useState("");
  const mention = text === refused ? null : mentionAt(text, caret, people);
  const at = mention ? Math.min(chosen, mention.found.length - 1) : 0;
  const choose = (person: Mentionable): void => {
    setChosen(0);
    const before = text.slice(0, mention!.from);
    setText(`${before}@${person.name} ${text.slice(caret)}`);
    setCaret(before.length + person.name.length + 2);
    box.current?.focus();
  };
  const off = whyOff(model, id);
  if (off) return <p class="composer-off">{off}</p>;
  return (
    <div class="composer">
      {replyTo && <ReplyBar message={replyTo} onCancel={props.onReplied} />}
      {mention && <MentionChoices found={mention.found} at={at} onChoose={choose} />}
      <form
        class="composer-row"
        onSubmit={(event) => {
          event.preventDefault();
          send();
        }}
      >
        <FilePicker onFiles={props.onFiles} />
        <textarea
          ref={box}
          rows={1}
          data-stop
          aria-label={t("message")}
          placeholder={t("message")}
          aria-controls={mention ? CHOICES : undefined}
          aria-activedescendant={mention ? choiceId(at) : undefined}
          value={text}
          onInput={(event) => type(event.currentTarget)}
          onSelect={(event) => setCaret(event.currentTarget.selectionStart)}
          onPaste={(event) => {
            const files = [...(event.clipboardData?.files ?? [])];
            if (!files.length) return;
            event.preventDefault();
            props.onFiles(files);
          }}
          onKeyDown={(event) => {
            if (event.key === "Escape") mention ? setRefused(text) : props.onReplied();
            const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
            if (mention && step) {
              event.preventDefault();
              setChosen((at + step + mention.found.length) % mention.found.length);
            }
            // Enter also ends the choice of a character by its sound.
            if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
            event.preventDefault();
            if (mention) choose(mention.found[at]!);
            else send();
          }}
        />
        <button type="submit" class="send" aria-label={t("send")} title={t("send")} disabled={!text.trim()}>
          <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
            <path d="M4 12l16-8-5 16-4-6.500zM11 13.500l9-9.500" />
          </svg>
        </button>
      </form>
    </div>
  );
}

/** What is typed outlives the page. */
function useDraft(model: Model, id: string, text: string): void {
  const latest = useRef(text);
  latest.current = text;
  const save = (): void => {
    if (model.client.userId && model.client.conversation(id).draft !== latest.current) {
      void model.client.setDraft(id, latest.current);
    }
  };
  useEffect(() => {
    const timer = window.setTimeout(save, text ? DRAFT_MS : 0);
    return () => clearTimeout(timer);
  }, [text]);
  useEffect(() => {
    window.addEventListener("pagehide", save);
    return () => {
      window.removeEventListener("pagehide", save);
      save();
    };
  }, []);
}

/** Why one may not write here, if so. */
function whyOff({ directory, me }: Model, id: string): string | null {
  if (!id.startsWith("g:")) return null;
  const groupId = Number(id.slice(2));
  if (directory.isOutOf(groupId)) return t("group_out_hint");
  const role = directory.members.get(groupId)?.get(me)?.role;
  return directory.groups.get(groupId)?.muted && role === "member" ? t("group_muted_hint") : null;
}

function ReplyBar(props: { message: Message; onCancel: () => void }): JSX.Element {
  const { directory, me } = useModel();
  const { message } = props;
  const name = message.from === me ? t("you") : directory.name(message.from, message.group_id);
  return (
    <div class="reply-bar">
      <span class="row-text">
        <strong>{t("replying_to", { name })}</strong>
        <span class="row-detail">{contentText(message)}</span>
      </span>
      <IconButton icon="close" label={t("cancel")} onClick={props.onCancel} />
    </div>
  );
}

function FilePicker(props: { onFiles: (files: File[]) => void }): JSX.Element {
  const input = useRef<HTMLInputElement>(null);
  return (
    <>
      <IconButton icon="attach" label={t("attach")} onClick={() => input.current?.click()} />
      <input
        ref={input}
        type="file"
        multiple
        hidden
        aria-hidden="true"
        onChange={(event) => {
          props.onFiles([...(event.currentTarget.files ?? [])]);
          event.currentTarget.value = "";
        }}
      />
    </>
  );
}

function grow(box: HTMLTextAreaElement): void {
  box.style.height = "auto";
  box.style.height = `${Math.min(box.scrollHeight, 160)}px`;
}
