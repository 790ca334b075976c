import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Group, Person } from "../directory";
import { t } from "../i18n";
import { useListeners, useModel } from "../model";
import { Avatar, Field, Modal, NameForm, PersonRow } from "../parts/basics";
import { Confirm, type Question } from "./confirm";
import { GroupMembers } from "./group_members";
import { PeoplePicker } from "./new_group";

interface JoinRequest extends Person {
  request_id: number;
  message: string;
}

/** A group: what it is, who is in it, and what one may do there. */
export function GroupDialog(props: { groupId: number; onClose: () => void }): JSX.Element {
  const model = useModel();
  const { client, directory } = model;
  const { groupId } = props;
  const [question, setQuestion] = useState<Question | null>(null);
  useListeners(directory.changed);
  const group = directory.group(groupId);
  const role = directory.members.get(groupId)?.get(model.me)?.role;
  const mayManage = role === "owner" || role === "admin";
  const path = `/v1/groups/${groupId}`;
  /** Changes something, and looks at the group again. */
  const change = (task: () => Promise<unknown>): Promise<boolean> =>
    model.try(async () => {
      await task();
      await Promise.all([directory.loadGroup(groupId), directory.loadMembers(groupId)]).catch(() => {});
    });
  useEffect(() => void change(async () => {}), [groupId]);
  const leaveBy = async (method: "POST" | "DELETE", to: string): Promise<void> => {
    const isGone = await model.try(() => client.http.request(method, to));
    if (!isGone) return;
    await directory.loadGroups().catch(() => {});
    model.go({ kind: "chats" });
  };
  const name = group?.name ?? "";
  return (
    <Modal title={t("group")} onClose={props.onClose}>
      <div class="profile-head">
        <Avatar id={groupId} name={name} large isGroup />
        <div class="row-text">
          <strong class="row-name">{name}</strong>
          <span class="row-detail">
            {t("group_number_of", { id: groupId })} · {t("members", { count: group?.member_count ?? 0 })}
          </span>
        </div>
      </div>
      {group?.announcement && <p class="note">{group.announcement}</p>}
      {group?.description && <p class="text">{group.description}</p>}
      {mayManage && <JoinRequests path={path} onDecided={() => change(async () => {})} />}
      {role && group && (mayManage || group.join_policy === "open") && <Invite groupId={groupId} change={change} />}
      <h3>{t("members_title")}</h3>
      <GroupMembers groupId={groupId} role={role} change={change} ask={setQuestion} />
      {role && <MyName path={path} groupId={groupId} change={change} />}
      {group && mayManage && <Edit key={group.group_id} group={group} path={path} change={change} />}
      <div class="buttons quiet">
        {role === "owner" ? (
          <button
            type="button"
            class="link danger"
            onClick={() => setQuestion({ text: t("confirm_dismiss", { name }), label: t("dismiss"), run: () => leaveBy("DELETE", path) })}
          >
            {t("dismiss")}
          </button>
        ) : (
          role && (
            <button
              type="button"
              class="link danger"
              onClick={() => setQuestion({ text: t("confirm_leave", { name }), label: t("leave"), run: () => leaveBy("POST", `${path}/leave`) })}
            >
              {t("leave")}
            </button>
          )
        )}
      </div>
      {question && <Confirm {...question} onClose={() => setQuestion(null)} />}
    </Modal>
  );
}

export type Change = (task: () => Promise<unknown>) => Promise<boolean>;

function JoinRequests(props: { path: string; onDecided: () => void }): JSX.Element | null {
  const model = useModel();
  const [requests, setRequests] = useState<JoinRequest[]>([]);
  const load = async (): Promise<void> => setRequests(await model.client.http.all(`${props.path}/requests`, {}, 200));
  useEffect(() => {
    load().catch(() => {});
    return model.client.on("event", ({ event }) => {
      if (event === "GroupJoinRequested") load().catch(() => {});
    });
  }, []);
  if (!requests.length) return null;
  const decide = (id: number, what: "accept" | "reject"): Promise<boolean> =>
    model.try(async () => {
      await model.client.http.post(`${props.path}/requests/${id}/${what}`);
      await load();
      props.onDecided();
    });
  return (
    <>
      <h3>{t("join_requests")}</h3>
      <ul>
        {requests.map((request) => (
          <PersonRow key={request.request_id} id={request.user_id} name={request.nickname || request.username} detail={request.message}>
            <button type="button" class="primary small" onClick={() => void decide(request.request_id, "accept")}>
              {t("accept")}
            </button>
            <button type="button" class="secondary small" onClick={() => void decide(request.request_id, "reject")}>
              {t("decline")}
            </button>
          </PersonRow>
        ))}
      </ul>
    </>
  );
}

function Invite(props: { groupId: number; change: Change }): JSX.Element {
  const { client, directory } = useModel();
  const [isOpen, setOpen] = useState(false);
  const opener = useRef<HTMLButtonElement>(null);
  const wasOpen = useRef(false);
  useEffect(() => {
    if (wasOpen.current && !isOpen) opener.current?.focus();
    wasOpen.current = isOpen;
  }, [isOpen]);
  const [chosen, setChosen] = useState<number[]>([]);
  const members = new Set(directory.members.get(props.groupId)?.keys());
  const invite = async (): Promise<void> => {
    const body = { user_ids: chosen };
    if (!(await props.change(() => client.http.post(`/v1/groups/${props.groupId}/members`, body)))) return;
    setChosen([]);
    setOpen(false);
  };
  if (!isOpen) {
    return (
      <div class="buttons">
        <button type="button" class="secondary" ref={opener} onClick={() => setOpen(true)}>
          {t("invite")}
        </button>
      </div>
    );
  }
  return (
    <>
      <PeoplePicker chosen={chosen} onChange={setChosen} without={members} autoFocus />
      <div class="buttons">
        <button type="button" class="secondary" onClick={() => setOpen(false)}>
          {t("cancel")}
        </button>
        <button type="button" class="primary" disabled={!chosen.length} onClick={() => void invite()}>
          {t("invite")}
        </button>
      </div>
    </>
  );
}

function MyName(props: { path: string; groupId: number; change: Change }): JSX.Element {
  const model = useModel();
  const save = async (nickname: string): Promise<void> => {
    const isSaved = await props.change(() => model.client.http.patch(`${props.path}/members/${model.me}`, { nickname }));
    if (isSaved) model.say(t("saved"));
  };
  const name = model.directory.members.get(props.groupId)?.get(model.me)?.group_nickname ?? "";
  return <NameForm label={t("my_group_name")} value={name} onSave={save} />;
}

const POLICIES: Group["join_policy"][] = ["open", "approval", "invite_only"];

function Edit(props: { group: Group; path: string; change: Change }): JSX.Element {
  const model = useModel();
  const { http } = model.client;
  const { group, path, change } = props;
  const [values, setValues] = useState({ ...group });
  const set = (more: Partial<Group>): void => setValues({ ...values, ...more });
  const save = async (): Promise<void> => {
    const { name, description, announcement, join_policy } = values;
    if (await change(() => http.patch(path, { name, description, announcement, join_policy }))) model.say(t("saved"));
  };
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        void save();
      }}
    >
      <Field label={t("group_name")} value={values.name} onInput={(name) => set({ name })} maxLength={64} />
      <Field label={t("description")} value={values.description} onInput={(description) => set({ description })} />
      <Field label={t("announcement")} value={values.announcement} onInput={(announcement) => set({ announcement })} />
      <label class="field">
        {t("join_policy")}
        <select value={values.join_policy} onChange={(event) => set({ join_policy: event.currentTarget.value as Group["join_policy"] })}>
          {POLICIES.map((policy) => (
            <option key={policy} value={policy}>
              {t(`policy_${policy}`)}
            </option>
          ))}
        </select>
      </label>
      <label class="check">
        <input
          type="checkbox"
          checked={group.muted}
          onChange={(event) => void change(() => http.post(`${path}/mute`, { muted: event.currentTarget.checked }))}
        />
        {t("mute_all")}
      </label>
      <div class="buttons">
        <button type="submit" class="secondary">
          {t("save")}
        </button>
      </div>
    </form>
  );
}
