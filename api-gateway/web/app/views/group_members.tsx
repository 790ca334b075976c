import type { JSX } from "preact";
import { useState } from "preact/hooks";
import type { Member } from "../directory";
import { t } from "../i18n";
import { useModel } from "../model";
import { PersonRow } from "../parts/basics";
import type { Question } from "./confirm";
import type { Change } from "./group";
import { Menu, type Choice } from "./menu";

const HOUR_MS = 3_600_000;
const RANK = { owner: 0, admin: 1, member: 2 };
const SHOWN = 200;

interface Props {
  groupId: number;
  role?: Member["role"];
  change: Change;
  ask: (question: Question) => void;
}

export function GroupMembers(props: Props): JSX.Element {
  const model = useModel();
  const { directory } = model;
  const members = [...(directory.members.get(props.groupId)?.values() ?? [])];
  members.sort((a, b) => RANK[a.role] - RANK[b.role]);
  return (
    <ul>
      {members.slice(0, SHOWN).map((member) => {
        const isMuted = member.muted_until > Date.now();
        const detail = [member.role === "member" ? "" : t(member.role), isMuted ? t("muted_member") : ""];
        return (
          <PersonRow
            key={member.user_id}
            id={member.user_id}
            name={directory.name(member.user_id, props.groupId)}
            detail={detail.filter(Boolean).join(" · ") || `@${member.username}`}
            onClick={() => model.show({ kind: "person", userId: member.user_id })}
          >
            <Powers {...props} member={member} isMuted={isMuted} />
          </PersonRow>
        );
      })}
    </ul>
  );
}

function Powers(props: Props & { member: Member; isMuted: boolean }): JSX.Element | null {
  const [isOpen, setOpen] = useState(false);
  const choices = useChoices(props);
  if (!choices.length) return null;
  return <Menu label={t("more")} choices={choices} isOpen={isOpen} onOpen={setOpen} />;
}

/** What the user may do with a member: the table in docs/groups.md. */
function useChoices(props: Props & { member: Member; isMuted: boolean }): Choice[] {
  const { client, directory, me } = useModel();
  const { member, role, change, ask, groupId } = props;
  const isOwner = role === "owner";
  const mayManage = isOwner || (role === "admin" && member.role === "member");
  if (!mayManage || member.user_id === me || member.role === "owner") return [];
  const group = `/v1/groups/${groupId}`;
  const path = `${group}/members/${member.user_id}`;
  const name = directory.name(member.user_id, groupId);
  const set = (body: object) => () => void change(() => client.http.patch(path, body));
  const isAdmin = member.role === "admin";
  return [
    ...(isOwner ? [{ label: t(isAdmin ? "make_member" : "make_admin"), run: set({ role: isAdmin ? "member" : "admin" }) }] : []),
    props.isMuted
      ? { label: t("unmute"), run: set({ muted_until: 0 }) }
      : { label: t("mute_hour"), run: () => set({ muted_until: Date.now() + HOUR_MS })() },
    ...(isOwner
      ? [
          {
            label: t("transfer"),
            run: () =>
              ask({
                text: t("confirm_transfer", { name }),
                label: t("transfer"),
                run: () => change(() => client.http.post(`${group}/transfer`, { user_id: member.user_id })),
              }),
          },
        ]
      : []),
    { label: t("remove"), isDanger: true, run: () => void change(() => client.http.delete(path)) },
  ];
}
