import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { t } from "../i18n";
import { useListeners, useModel } from "../model";
import { Empty, PersonRow } from "../parts/basics";
import { presenceText } from "./chat";

export function ContactsView(): JSX.Element {
  const model = useModel();
  const { client, directory } = model;
  useListeners(directory.changed);
  useEffect(() => void directory.refresh(), []);
  const friends = [...directory.friends.values()];
  const groups = [...directory.groups.values()].sort((a, b) => a.name.localeCompare(b.name));
  return (
    <>
      <header class="side-header">
        <h2>{t("contacts")}</h2>
      </header>
      <div class="scroll">
        <Requests />
        <h2>{t("groups")}</h2>
        <div class="buttons">
          <button type="button" class="secondary" onClick={() => model.show({ kind: "new-group" })}>
            {t("new_group")}
          </button>
          <button type="button" class="secondary" onClick={() => model.show({ kind: "join-group" })}>
            {t("join_group")}
          </button>
        </div>
        <ul>
          {groups.map((group) => (
            <PersonRow
              key={group.group_id}
              id={group.group_id}
              name={group.name}
              detail={t("members", { count: group.member_count })}
              isGroup
              onClick={() => model.openChat(client.conversationOf(group.group_id))}
            />
          ))}
        </ul>
        <h2>{t("friends")}</h2>
        {!friends.length && <Empty icon="contacts" title={t("no_friends")} hint={t("no_friends_hint")} />}
        <ul>
          {friends.map((friend) => (
            <PersonRow
              key={friend.user_id}
              id={friend.user_id}
              name={directory.name(friend.user_id)}
              detail={presenceText(model, friend.user_id)}
              online={directory.presences.get(friend.user_id)?.online}
              onClick={() => model.show({ kind: "person", userId: friend.user_id })}
            />
          ))}
        </ul>
      </div>
    </>
  );
}

function Requests(): JSX.Element | null {
  const model = useModel();
  const { client, directory } = model;
  if (!directory.incoming.length && !directory.outgoing.length) return null;
  const decide = (path: string): Promise<boolean> =>
    model.try(async () => {
      await client.http.post(`/v1/friends/requests/${path}`);
      await Promise.all([directory.loadRequests(), directory.loadFriends()]);
    });
  const withdraw = (id: number): Promise<boolean> =>
    model.try(async () => {
      await client.http.delete(`/v1/friends/requests/${id}`);
      await directory.loadRequests();
    });
  return (
    <>
      <h2>{t("requests")}</h2>
      <ul>
        {directory.incoming.map((request) => (
          <PersonRow
            key={request.request_id}
            id={request.from_user_id}
            name={request.nickname || request.username}
            detail={request.message || t("request_from")}
            onClick={() => model.show({ kind: "person", userId: request.from_user_id })}
          >
            <button type="button" class="primary small" onClick={() => void decide(`${request.request_id}/accept`)}>
              {t("accept")}
            </button>
            <button type="button" class="secondary small" onClick={() => void decide(`${request.request_id}/reject`)}>
              {t("decline")}
            </button>
          </PersonRow>
        ))}
        {directory.outgoing.map((request) => (
          <PersonRow key={request.request_id} id={request.to_user_id} name={request.nickname || request.username} detail={t("request_to")}>
            <button type="button" class="secondary small" onClick={() => void withdraw(request.request_id)}>
              {t("withdraw")}
            </button>
          </PersonRow>
        ))}
      </ul>
    </>
  );
}
