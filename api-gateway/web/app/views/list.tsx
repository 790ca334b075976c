import type { JSX } from "preact";
import { useState } from "preact/hooks";
import type { Conversation } from "im-client";
import { t } from "../i18n";
import { useClientEvents, useListeners, useModel } from "../model";
import { Avatar, Empty, IconButton } from "../parts/basics";
import { Icon } from "../parts/icons";
import { VirtualList } from "../parts/virtual";
import { contentText, summary } from "../summary";
import { brief } from "../times";
import { StateMark } from "./marks";
import { SearchResults } from "./search";

export function ConversationList(props: { current?: string }): JSX.Element {
  const model = useModel();
  const [query, setQuery] = useState("");
  useListeners(model.changed, model.directory.changed);
  useClientEvents(["conversation", "conversations", "synced", "state"]);
  const conversations = inOrder([...model.client.conversations.values()], model.client);
  return (
    <>
      <header class="side-header">
        <div class="search-box">
          <Icon name="search" />
          <input
            type="text"
            role="textbox"
            inputMode="search"
            enterkeyhint="search"
            aria-label={t("search")}
            placeholder={t("search_hint")}
            value={query}
            autocomplete="off"
            spellcheck={false}
            data-stop
            onInput={(event) => setQuery(event.currentTarget.value)}
            onKeyDown={(event) => {
              if (event.key === "Escape") setQuery("");
              if (event.key === "Enter" && !event.isComposing) openFirst(event.currentTarget);
            }}
          />
          {query && <IconButton icon="close" label={t("close")} onClick={() => setQuery("")} />}
        </div>
        <IconButton icon="add" label={t("new_group")} onClick={() => model.show({ kind: "new-group" })} />
      </header>
      <ConnectionLine />
      {query.trim() ? (
        <SearchResults query={query.trim()} onChosen={() => setQuery("")} />
      ) : conversations.length ? (
        <VirtualList
          class="conversations"
          label={t("chats")}
          items={conversations}
          keyOf={(one) => one.id}
          estimate={68}
          stop={props.current}
          render={(one, isStop) => <Row conversation={one} isCurrent={one.id === props.current} isStop={isStop} />}
        />
      ) : (
        <Empty icon="chats" title={t("no_chats")} hint={t("no_chats_hint")} />
      )}
    </>
  );
}

/** Of what was found, when the answer is here. */
function openFirst(box: HTMLElement): void {
  box.closest(".side")?.querySelector<HTMLElement>(".results[aria-busy=false] .row-main")?.click();
}

function ConnectionLine(): JSX.Element {
  const { client } = useModel();
  const isWaiting = client.state === "waiting";
  return (
    <div role="status">
      {client.state !== "online" && (
        <p class={`connection ${isWaiting ? "is-off" : ""}`}>{t(isWaiting ? "waiting" : "connecting")}</p>
      )}
    </div>
  );
}

type Pendings = { pending(id: string): { created_at: number }[] };

function inOrder(conversations: Conversation[], client: Pendings): Conversation[] {
  const seen = conversations.filter((one) => one.lastMessage || one.draft || client.pending(one.id).length);
  const when = (one: Conversation): number =>
    Math.max(one.lastMessage?.timestamp ?? 0, client.pending(one.id).at(-1)?.created_at ?? 0);
  return seen.sort((a, b) => Number(b.pinned) - Number(a.pinned) || when(b) - when(a));
}

function Row(props: { conversation: Conversation; isCurrent: boolean; isStop: boolean }): JSX.Element {
  const model = useModel();
  const { conversation } = props;
  const { directory } = model;
  const other = directory.otherOf(conversation.id);
  const title = directory.title(conversation.id);
  const last = conversation.lastMessage;
  const pending = model.client.pending(conversation.id).at(-1);
  const typists = model.typists(conversation.id);
  const isMine = last?.from === model.me && last.content_type !== "system" && !last.recalled;
  const time = pending?.created_at ?? last?.timestamp;
  return (
    <button
      type="button"
      class="conversation"
      data-stop
      tabIndex={props.isStop ? 0 : -1}
      aria-current={props.isCurrent ? "true" : undefined}
      onClick={() => model.openChat(conversation.id)}
    >
      <Avatar
        id={other ?? Number(conversation.id.slice(2))}
        name={title}
        isGroup={conversation.isGroup}
        online={other ? directory.presences.get(other)?.online : false}
      />
      <span class="row-text">
        <span class="row-line">
          <span class="row-name">{title}</span>
          {time && <time class="row-time">{brief(time)}</time>}
        </span>
        <span class="row-line">
          <span class="row-detail">
            {typists.length ? (
              <em>{t("typing_one")}</em>
            ) : conversation.draft && !props.isCurrent ? (
              <em class="row-summary">{t("draft", { text: conversation.draft })}</em>
            ) : (
              <>
                {pending ? <StateMark state={pending.state} /> : isMine && <StateMark state={conversation.stateOf(last)} />}
                <span class="row-summary">
                  {pending ? contentText({ content_type: "text", ...pending.frame }) : last && summary(last, directory, model.me, conversation.isGroup)}
                </span>
              </>
            )}
          </span>
          {conversation.mentionedSeq !== null && (
            <span class="badge" title={t("mentioned")}>
              @
            </span>
          )}
          {conversation.unread > 0 && (
            <span class={`badge ${conversation.muted ? "quiet" : ""}`}>
              <span aria-hidden="true">{conversation.unread > 999 ? "999+" : conversation.unread}</span>
              <span class="hidden">{t("unread_count", { count: conversation.unread })}</span>
            </span>
          )}
        </span>
      </span>
    </button>
  );
}
