import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { t } from "../i18n";
import { useClientEvents, useListeners, useModel, type Model } from "../model";
import { IconButton, Empty, Notice } from "../parts/basics";
import { isWide, moveByArrows } from "../parts/focus";
import { ChatView } from "./chat";
import { ContactsView } from "./contacts";
import { ConversationList } from "./list";
import { GroupDialog } from "./group";
import { JoinGroupDialog, NewGroupDialog } from "./new_group";
import { PersonDialog } from "./person";
import { PictureDialog } from "./picture";
import { ReadersDialog } from "./readers";
import { SettingsView } from "./settings";

export function Shell(): JSX.Element {
  const model = useModel();
  useListeners(model.changed);
  useEffect(() => void model.directory.refresh(), [model]);
  const side = useRef<HTMLElement>(null);
  useEffect(() => {
    // Who has just come in has the focus nowhere.
    if (isWide()) side.current?.querySelector("input")?.focus();
  }, []);
  const { place } = model;
  const conversation = place.kind === "chats" ? place.conversation : undefined;
  const isDeep = conversation !== undefined;
  return (
    <div class={`shell ${isDeep ? "deep" : ""}`}>
      <Rail />
      <section
        class="side"
        ref={side}
        aria-label={t(place.kind)}
        onKeyDown={(event) => moveByArrows(event, event.currentTarget)}
      >
        {place.kind === "chats" && <ConversationList current={conversation} />}
        {place.kind === "contacts" && <ContactsView />}
        {place.kind === "settings" && <SettingsView />}
      </section>
      <main class="main">
        {conversation ? (
          <ChatView key={conversation} id={conversation} />
        ) : (
          <Empty isPage icon="chats" title={t("pick_chat")} hint={t("pick_chat_hint")} />
        )}
      </main>
      <Notice isBehind={model.dialog !== null} />
      <OpenDialog model={model} />
    </div>
  );
}

function Rail(): JSX.Element {
  const model = useModel();
  useListeners(model.directory.changed);
  useClientEvents(["conversation", "conversations", "synced"]);
  const at = model.place.kind;
  let unread = 0;
  for (const one of model.client.conversations.values()) if (!one.muted) unread += one.unread;
  useEffect(() => {
    document.title = unread ? `(${unread}) im` : "im";
  }, [unread]);
  const asked = model.directory.incoming.length;
  return (
    <nav class="rail" aria-label="im">
      <img src="icon.svg" alt="" width="36" height="36" class="logo" />
      <RailItem label={t("chats")} count={unread}>
        <IconButton icon="chats" label={t("chats")} current={at === "chats"} onClick={() => model.go({ kind: "chats" })} />
      </RailItem>
      <RailItem label={t("contacts")} count={asked}>
        <IconButton icon="contacts" label={t("contacts")} current={at === "contacts"} onClick={() => model.go({ kind: "contacts" })} />
      </RailItem>
      <RailItem label={t("settings")} count={0}>
        <IconButton icon="settings" label={t("settings")} current={at === "settings"} onClick={() => model.go({ kind: "settings" })} />
      </RailItem>
      <span class="grow" />
      <span class="rail-item">
        <IconButton icon="logout" label={t("log_out")} onClick={() => void model.client.logout()} />
      </span>
    </nav>
  );
}

function RailItem(props: { label: string; count: number; children: JSX.Element }): JSX.Element {
  return (
    <span class="rail-item">
      {props.children}
      <span class="rail-label" aria-hidden="true">
        {props.label}
      </span>
      {props.count > 0 && <span class="badge">{props.count > 99 ? "99+" : props.count}</span>}
    </span>
  );
}

function OpenDialog(props: { model: Model }): JSX.Element | null {
  const { dialog } = props.model;
  const close = (): void => props.model.show(null);
  switch (dialog?.kind) {
    case "person":
      return <PersonDialog key={dialog.userId} userId={dialog.userId} onClose={close} />;
    case "group":
      return <GroupDialog key={dialog.groupId} groupId={dialog.groupId} onClose={close} />;
    case "new-group":
      return <NewGroupDialog onClose={close} />;
    case "join-group":
      return <JoinGroupDialog onClose={close} />;
    case "readers":
      return <ReadersDialog groupId={dialog.groupId} seq={dialog.seq} onClose={close} />;
    case "picture":
      return <PictureDialog url={dialog.url} name={dialog.name} onClose={close} />;
    default:
      return null;
  }
}
