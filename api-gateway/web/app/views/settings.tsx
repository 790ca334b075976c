import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { uploadAvatar } from "../avatars";
import { getLanguage, setLanguage, t, type Language } from "../i18n";
import { getLook, setLook, type Look } from "../look";
import { useListeners, useModel } from "../model";
import { Avatar, Field } from "../parts/basics";
import { full } from "../times";

interface Me {
  username: string;
  nickname: string;
  avatar: string;
  signature: string;
  presence_hidden: boolean;
}

interface SessionInfo {
  session_id: string;
  platform: string;
  address: string;
  last_seen_at: number;
  current: boolean;
}

export function SettingsView(): JSX.Element {
  const model = useModel();
  return (
    <>
      <header class="side-header">
        <h2>{t("settings")}</h2>
      </header>
      <div class="scroll settings">
        <Profile />
        <Looks />
        <Sessions />
        <PasswordForm />
        <div class="buttons phone-only">
          <button type="button" class="secondary" onClick={() => void model.client.logout()}>
            {t("log_out")}
          </button>
        </div>
      </div>
    </>
  );
}

function Profile(): JSX.Element {
  const model = useModel();
  const { http } = model.client;
  const [me, setMe] = useState<Me | null>(null);
  useListeners(model.directory.changed);
  // Their picture is shown from there.
  model.directory.person(model.me);
  useEffect(() => {
    void model.try(async () => setMe(await http.get("/v1/users/me")));
  }, []);
  const change = async (fields: Partial<Me>): Promise<Me> => {
    const changed = await http.patch<Me>("/v1/users/me", fields);
    await model.directory.loadPerson(model.me);
    model.say(t("saved"));
    return changed;
  };
  const save = (): Promise<boolean> =>
    model.try(async () => {
      const { nickname, signature, presence_hidden } = me!;
      setMe(await change({ nickname, signature, presence_hidden }));
    });
  // What is typed and not saved stays.
  const setAvatar = (made: () => Promise<string>): Promise<boolean> =>
    model.try(async () => {
      const { avatar } = await change({ avatar: await made() });
      setMe((now) => now && { ...now, avatar });
    });
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        if (me) void save();
      }}
    >
      <div class="profile-head">
        <Avatar id={model.me} name={me?.nickname || me?.username || "?"} large />
        <div class="row-text">
          <strong class="row-name">{me?.nickname || me?.username}</strong>
          <span class="row-detail">{me && `@${me.username}`}</span>
          {me && <PictureButtons hasPicture={Boolean(me.avatar)} onChange={(made) => void setAvatar(made)} />}
        </div>
      </div>
      {me && (
        <>
          <Field label={t("nickname")} value={me.nickname} onInput={(nickname) => setMe({ ...me, nickname })} maxLength={64} />
          <Field label={t("signature")} value={me.signature} onInput={(signature) => setMe({ ...me, signature })} />
          <label class="check">
            <input
              type="checkbox"
              checked={me.presence_hidden}
              onChange={(event) => setMe({ ...me, presence_hidden: event.currentTarget.checked })}
            />
            {t("hide_presence")}
          </label>
          <div class="buttons">
            <button type="submit" class="primary">
              {t("save")}
            </button>
          </div>
        </>
      )}
    </form>
  );
}

/** `onChange` gets what makes the new `avatar`. */
function PictureButtons(props: { hasPicture: boolean; onChange: (made: () => Promise<string>) => void }): JSX.Element {
  const { client } = useModel();
  const input = useRef<HTMLInputElement>(null);
  return (
    <span class="buttons">
      <button type="button" class="link" onClick={() => input.current?.click()}>
        {t("change_picture")}
      </button>
      {props.hasPicture && (
        <button type="button" class="link danger" onClick={() => props.onChange(async () => "")}>
          {t("remove_picture")}
        </button>
      )}
      <input
        ref={input}
        type="file"
        accept="image/*"
        hidden
        aria-hidden="true"
        onChange={(event) => {
          const file = event.currentTarget.files?.[0];
          event.currentTarget.value = "";
          if (file) props.onChange(() => uploadAvatar(client, file));
        }}
      />
    </span>
  );
}

function Looks(): JSX.Element {
  const model = useModel();
  const [look, set] = useState(getLook());
  const LOOKS: Look[] = ["auto", "light", "dark"];
  return (
    <div class="pair">
      <label class="field">
        {t("look")}
        <select
          value={look}
          onChange={(event) => {
            const next = event.currentTarget.value as Look;
            setLook(next);
            set(next);
          }}
        >
          {LOOKS.map((one) => (
            <option key={one} value={one}>
              {t(`look_${one}`)}
            </option>
          ))}
        </select>
      </label>
      <label class="field">
        {t("language")}
        <select
          value={getLanguage()}
          onChange={(event) => {
            setLanguage(event.currentTarget.value as Language);
            // What was said is in the other one.
            model.say("");
          }}
        >
          <option value="en">English</option>
          <option value="zh">中文</option>
        </select>
      </label>
    </div>
  );
}

function Sessions(): JSX.Element {
  const model = useModel();
  const { http } = model.client;
  const [sessions, setSessions] = useState<SessionInfo[]>([]);
  const load = async (): Promise<void> => {
    setSessions(await http.all<SessionInfo>("/v1/auth/sessions"));
  };
  useEffect(() => {
    void model.try(load);
    return model.client.on("event", ({ event }) => {
      if (event === "SessionRevoked") load().catch(() => {});
    });
  }, []);
  const end = (path: string): Promise<boolean> =>
    model.try(async () => {
      await http.delete(`/v1/auth/sessions${path}`);
      await load();
    });
  return (
    <section>
      <h2>{t("sessions")}</h2>
      <ul>
        {sessions.map((session) => (
          <li key={session.session_id} class="person-row">
            <span class="row-main">
              <span class="row-text">
                <span class="row-name">{session.current ? t("this_device") : session.platform}</span>
                <span class="row-detail">
                  {session.address && `${session.address} · `}
                  {t("active", { when: full(session.last_seen_at) })}
                </span>
              </span>
            </span>
            {!session.current && (
              <button type="button" class="secondary small" onClick={() => void end(`/${session.session_id}`)}>
                {t("end_session")}
              </button>
            )}
          </li>
        ))}
      </ul>
      {sessions.length > 1 && (
        <div class="buttons">
          <button type="button" class="link danger" onClick={() => void end("")}>
            {t("end_others")}
          </button>
        </div>
      )}
    </section>
  );
}

function PasswordForm(): JSX.Element {
  const model = useModel();
  const [before, setBefore] = useState("");
  const [next, setNext] = useState("");
  const change = (): Promise<boolean> =>
    model.try(async () => {
      await model.client.http.post("/v1/auth/password", { old_password: before, new_password: next });
      setBefore("");
      setNext("");
      model.say(t("password_changed"));
    });
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        void change();
      }}
    >
      <h2>{t("change_password")}</h2>
      <Field label={t("old_password")} type="password" value={before} onInput={setBefore} autocomplete="current-password" />
      <Field label={t("new_password")} type="password" value={next} onInput={setNext} autocomplete="new-password" />
      <div class="buttons">
        <button type="submit" class="secondary" disabled={!before || !next}>
          {t("change_password")}
        </button>
      </div>
    </form>
  );
}
