import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { Person } from "../directory";
import { t } from "../i18n";
import { useListeners, useModel } from "../model";
import { Avatar, Field, Modal } from "../parts/basics";

export function NewGroupDialog(props: { onClose: () => void }): JSX.Element {
  const model = useModel();
  const [name, setName] = useState("");
  const [chosen, setChosen] = useState<number[]>([]);
  const make = (): Promise<boolean> =>
    model.try(async () => {
      const { group_id: group } = await model.client.http.post("/v1/groups", { name: name.trim(), member_ids: chosen });
      await model.directory.loadGroups();
      model.openChat(model.client.conversationOf(group));
    });
  return (
    <Modal title={t("new_group")} onClose={props.onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (name.trim()) void make();
        }}
      >
        <Field label={t("group_name")} value={name} onInput={setName} maxLength={64} autoFocus />
        <PeoplePicker chosen={chosen} onChange={setChosen} />
        <div class="buttons">
          <button type="submit" class="primary" disabled={!name.trim()}>
            {t("create_group")}
          </button>
        </div>
      </form>
    </Modal>
  );
}

/** Friends, and whoever is found by name, to be ticked. */
export function PeoplePicker(props: {
  chosen: number[];
  onChange: (chosen: number[]) => void;
  without?: Set<number>;
  autoFocus?: boolean;
}): JSX.Element {
  const model = useModel();
  const { directory, client } = model;
  const [query, setQuery] = useState("");
  const [found, setFound] = useState<Person[]>([]);
  useListeners(directory.changed);
  useEffect(() => {
    if (!query.trim()) return setFound([]);
    const timer = window.setTimeout(() => {
      client.http.get("/v1/users", { q: query.trim(), limit: 20 }).then(
        ({ items }) => (directory.learn(items), setFound(items)),
        () => setFound([]),
      );
    }, 200);
    return () => clearTimeout(timer);
  }, [query]);
  const ids = new Set([...props.chosen, ...found.map((person) => person.user_id), ...directory.friends.keys()]);
  const shown = [...ids].filter((id) => id !== model.me && !props.without?.has(id));
  const toggle = (id: number, isOn: boolean): void =>
    props.onChange(isOn ? [...props.chosen, id] : props.chosen.filter((one) => one !== id));
  return (
    <fieldset>
      <legend>{t("group_members_hint")}</legend>
      <Field label={t("username")} value={query} onInput={setQuery} autoFocus={props.autoFocus} />
      <ul class="picker">
        {shown.map((id) => (
          <li key={id}>
            <label>
              <input type="checkbox" checked={props.chosen.includes(id)} onChange={(event) => toggle(id, event.currentTarget.checked)} />
              <Avatar id={id} name={directory.name(id)} />
              <span class="row-text">
                <span class="row-name">{directory.name(id)}</span>
                <span class="row-detail">@{directory.person(id)?.username}</span>
              </span>
            </label>
          </li>
        ))}
      </ul>
    </fieldset>
  );
}

export function JoinGroupDialog(props: { onClose: () => void }): JSX.Element {
  const model = useModel();
  const [number, setNumber] = useState("");
  const join = (): Promise<boolean> =>
    model.try(async () => {
      const { joined } = await model.client.http.post(`/v1/groups/${Number(number)}/join`, {});
      if (!joined) {
        props.onClose();
        return model.say(t("join_asked"));
      }
      await model.directory.loadGroups();
      model.openChat(model.client.conversationOf(Number(number)));
    });
  const isNumber = /^\d+$/.test(number.trim());
  return (
    <Modal title={t("join_group")} onClose={props.onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (isNumber) void join();
        }}
      >
        <Field label={t("group_number")} value={number} onInput={setNumber} autoFocus />
        <div class="buttons">
          <button type="submit" class="primary" disabled={!isNumber}>
            {t("join")}
          </button>
        </div>
      </form>
    </Modal>
  );
}
