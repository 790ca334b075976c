// What a message is, in one line.

import type { Message } from "im-client";
import type { Directory } from "./directory";
import { t, type Text } from "./i18n";

export function summary(message: Message, directory: Directory, me: number, isGroup: boolean): string {
  if (message.content_type === "system") return systemText(message, directory, me);
  if (message.recalled) return recalledText(message, directory, me);
  const text = contentText(message);
  return isGroup && message.from !== me ? `${directory.name(message.from, message.group_id)}: ${text}` : text;
}

export function contentText(message: Pick<Message, "content_type" | "content" | "ext">): string {
  const name = typeof message.ext?.name === "string" ? message.ext.name : "";
  switch (message.content_type) {
    case "text":
      return message.content;
    case "image":
      return name || t("picture");
    case "file":
      return name || t("file");
    case "audio":
      return t("voice");
    case "video":
      return t("video");
    default:
      return t("other_content");
  }
}

export function recalledText(message: Message, directory: Directory, me: number): string {
  if (message.from === me) return t("recalled_by_you");
  return t("recalled_by", { name: directory.name(message.from, message.group_id) });
}

/** A change of a group, as a sentence. */
export function systemText(message: Message, directory: Directory, me: number): string {
  const { event, user_id: whom, user_ids: many, role, muted, muted_until: until } = (message.ext ?? {}) as {
    event?: string;
    user_id?: number;
    user_ids?: number[];
    role?: "member" | "admin" | "owner";
    muted?: boolean;
    muted_until?: number;
  };
  const name = (id: number): string => (id === me ? t("you") : directory.name(id, message.group_id));
  const values = {
    who: name(event === "member_joined" && whom ? whom : message.from),
    whom: (many ?? (whom ? [whom] : [])).map(name).join(", "),
    role: role ? t(role) : "",
  };
  if (event === "member_muted" && !until) return t("sys_member_unmuted", values);
  if (event === "group_muted" && !muted) return t("sys_group_unmuted", values);
  const known = `sys_${event}`;
  return KNOWN.has(known) ? t(known as Text, values) : t("sys_group_updated", values);
}

const KNOWN = new Set([
  "sys_group_created",
  "sys_members_added",
  "sys_member_joined",
  "sys_member_left",
  "sys_member_removed",
  "sys_role_changed",
  "sys_owner_transferred",
  "sys_member_muted",
  "sys_group_muted",
  "sys_group_updated",
  "sys_group_dismissed",
]);
