import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { t } from "../i18n";
import { useListeners, useModel } from "../model";
import { Avatar, Modal, NameForm } from "../parts/basics";
import { presenceText } from "./chat";
import { Confirm, type Question } from "./confirm";

/** Somebody's profile, and what can be done with them. */
export function PersonDialog(props: { userId: number; onClose: () => void }): JSX.Element {
  const model = useModel();
  const { client, directory } = model;
  const { userId } = props;
  const [question, setQuestion] = useState<Question | null>(null);
  useListeners(directory.changed);
  useEffect(() => {
    directory.loadPerson(userId).catch(() => {});
    directory.loadBlocked().catch(() => {});
  }, [userId]);
  const person = directory.person(userId);
  const name = directory.name(userId);
  const isFriend = directory.friends.has(userId);
  const isBlocked = directory.blocked.has(userId);
  const hasAsked = directory.outgoing.some((request) => request.to_user_id === userId);
  const change = (task: () => Promise<unknown>): Promise<boolean> =>
    model.try(async () => {
      await task();
      await Promise.all([directory.loadFriends(), directory.loadRequests(), directory.loadBlocked()]);
    });
  const ask = (): Promise<boolean> =>
    change(async () => {
      const answer = await client.http.post("/v1/friends/requests", { user_id: userId });
      model.say(t(answer.accepted ? "now_friends" : "request_sent"));
    });
  return (
    <Modal title={t("profile")} onClose={props.onClose}>
      <div class="profile-head">
        <Avatar id={userId} name={name} large online={directory.presences.get(userId)?.online} />
        <div class="row-text">
          <strong class="row-name">{name}</strong>
          <span class="row-detail">
            {person && `@${person.username} · `}
            {presenceText(model, userId)}
          </span>
        </div>
      </div>
      {person?.signature && <p class="text">{person.signature}</p>}
      {userId !== model.me && (
        <div class="buttons">
          <button type="button" class="primary" onClick={() => model.openChat(client.conversationWith(userId))}>
            {t("write")}
          </button>
          {!isFriend && !hasAsked && !isBlocked && (
            <button type="button" class="secondary" onClick={() => void ask()}>
              {t("add_friend")}
            </button>
          )}
        </div>
      )}
      {hasAsked && !isFriend && <p class="hint">{t("request_to")}</p>}
      {isFriend && <Remark userId={userId} />}
      {userId !== model.me && (
        <div class="buttons quiet">
          {isFriend && (
            <button
              type="button"
              class="link danger"
              onClick={() =>
                setQuestion({
                  text: t("confirm_remove_friend", { name }),
                  label: t("remove_friend"),
                  run: () => change(() => client.http.delete(`/v1/friends/${userId}`)),
                })
              }
            >
              {t("remove_friend")}
            </button>
          )}
          {isBlocked ? (
            <button type="button" class="link" onClick={() => void change(() => client.http.delete(`/v1/blocks/${userId}`))}>
              {t("unblock")}
            </button>
          ) : (
            <button
              type="button"
              class="link danger"
              onClick={() =>
                setQuestion({
                  text: t("confirm_block", { name }),
                  label: t("block"),
                  run: () => change(() => client.http.put(`/v1/blocks/${userId}`)),
                })
              }
            >
              {t("block")}
            </button>
          )}
        </div>
      )}
      {question && <Confirm {...question} onClose={() => setQuestion(null)} />}
    </Modal>
  );
}

function Remark(props: { userId: number }): JSX.Element {
  const model = useModel();
  const { client, directory } = model;
  const save = (remark: string): Promise<boolean> =>
    model.try(async () => {
      await client.http.patch(`/v1/friends/${props.userId}`, { remark });
      await directory.loadFriends();
      model.say(t("saved"));
    });
  return <NameForm label={t("remark")} value={directory.friends.get(props.userId)?.remark ?? ""} onSave={save} />;
}
