import type { JSX } from "preact";
import type { Message } from "im-client";
import { useBlob, useSaving } from "../blobs";
import { t } from "../i18n";
import { useModel } from "../model";
import { Icon } from "../parts/icons";
import { contentText } from "../summary";
import { size } from "../times";

type Shown = Pick<Message, "content" | "content_type" | "ext" | "mentions" | "group_id">;

/** What a message holds. Everything of it comes from others: it goes into the page as text only. */
export function Content(props: { message: Shown }): JSX.Element {
  const { message } = props;
  switch (message.content_type) {
    case "text":
      return <RichText message={message} />;
    case "image":
      return <Picture message={message} />;
    case "file":
    case "audio":
    case "video":
      return <FileCard message={message} />;
    default:
      return <em>{contentText(message)}</em>;
  }
}

const LINK = /https?:\/\/[^\s<>"']+[^\s<>"'.,;:!?)\]}，。！？）】]/g;

function RichText(props: { message: Shown }): JSX.Element {
  const { directory, me } = useModel();
  const { content, mentions = [], group_id: groupId } = props.message;
  const names = new Map<string, boolean>();
  for (const who of mentions) {
    if (who === "all") names.set(`@${t("everybody")}`, true).set("@all", true);
    else names.set(`@${directory.name(who, groupId)}`, who === me);
  }
  const parts: (string | JSX.Element)[] = [];
  let done = 0;
  for (const { 0: url, index } of content.matchAll(LINK)) {
    parts.push(...named(content.slice(done, index), names));
    parts.push(
      <a key={index} href={url} target="_blank" rel="noopener noreferrer nofollow">
        {url}
      </a>,
    );
    done = index + url.length;
  }
  parts.push(...named(content.slice(done), names));
  return <p class="text">{parts}</p>;
}

/** The text with those who are mentioned in it set off. */
function named(text: string, names: Map<string, boolean>): (string | JSX.Element)[] {
  for (const [name, isMe] of names) {
    const at = text.indexOf(name);
    if (at < 0) continue;
    const end = at + name.length;
    const mark = <mark class={isMe ? "me" : ""}>{name}</mark>;
    return [...named(text.slice(0, at), names), mark, ...named(text.slice(end), names)];
  }
  return text ? [text] : [];
}

const BOX = { width: 320, height: 320 };

function Picture(props: { message: Shown }): JSX.Element {
  const model = useModel();
  const { ext = {} } = props.message;
  const url = fileOf(props.message);
  const name = text(ext.name) || t("picture");
  const small = text(ext.thumbnail_url) || url;
  const blob = useBlob(small);
  // The room is kept before the picture is there, so that nothing jumps.
  const [width, height] = fit(number(ext.width), number(ext.height));
  return (
    <button
      type="button"
      class="picture"
      aria-label={t("open_picture", { name })}
      style={{ width: `${width}px`, aspectRatio: `${width} / ${height}` }}
      onClick={() => model.show({ kind: "picture", url, name })}
    >
      {blob.url ? <img src={blob.url} alt="" /> : <span class="hint">{blob.isMissing ? t("picture_missing") : ""}</span>}
    </button>
  );
}

function FileCard(props: { message: Shown }): JSX.Element {
  const { ext = {} } = props.message;
  const name = contentText(props.message);
  const saving = useSaving(fileOf(props.message), name);
  const bytes = number(ext.size);
  return (
    <button type="button" class="file-card" onClick={saving.save} aria-disabled={saving.isBusy} title={t("download")}>
      <span class="file-icon">
        <Icon name="file" />
      </span>
      <span class="row-text">
        <span class="row-name">{name}</span>
        <span class="row-detail">{bytes ? size(bytes) : t("download")}</span>
      </span>
    </button>
  );
}

/** Where the file of a message is: applications may put into the content what they like. */
function fileOf(message: Shown): string {
  const id = text(message.ext?.file_id);
  return /^f_[0-9a-f]{32}$/.test(id) ? `/v1/files/${id}` : message.content;
}

function fit(width: number, height: number): [number, number] {
  if (!width || !height) return [240, 180];
  const scale = Math.min(1, BOX.width / width, BOX.height / height);
  return [Math.max(80, Math.round(width * scale)), Math.max(60, Math.round(height * scale))];
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function number(value: unknown): number {
  return typeof value === "number" && value > 0 && value < 2 ** 40 ? value : 0;
}
