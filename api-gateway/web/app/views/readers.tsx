import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { Member } from "../directory";
import { t } from "../i18n";
import { useModel } from "../model";
import { Modal, PersonRow } from "../parts/basics";

export function ReadersDialog(props: { groupId: number; seq: number; onClose: () => void }): JSX.Element {
  const model = useModel();
  const [readers, setReaders] = useState<Member[] | null>(null);
  useEffect(() => {
    void model.try(async () => {
      setReaders(await model.client.http.all(`/v1/groups/${props.groupId}/readers`, { seq: props.seq }, 1_000));
    });
  }, []);
  return (
    <Modal title={t("read_by")} onClose={props.onClose}>
      {readers?.length === 0 && <p class="hint">{t("read_by_none")}</p>}
      <ul>
        {readers?.map((reader) => (
          <PersonRow key={reader.user_id} id={reader.user_id} name={reader.group_nickname || reader.nickname || reader.username} />
        ))}
      </ul>
    </Modal>
  );
}
