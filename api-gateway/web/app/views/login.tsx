import type { JSX } from "preact";
import { useState } from "preact/hooks";
import type { ImClient } from "im-client";
import { explain, getLanguage, setLanguage, t } from "../i18n";
import { Field } from "../parts/basics";

interface Problem {
  field?: string;
  text: string;
}

export function LoginView(props: { client: ImClient; isOver: boolean }): JSX.Element {
  const [username, setUsername] = useState("");
  const [password, setPassword] = useState("");
  const [problem, setProblem] = useState<Problem | null>(null);
  const [isBusy, setBusy] = useState(false);
  const [, again] = useState(0);

  const enter = async (kind: "login" | "register"): Promise<void> => {
    if (isBusy) return;
    if (!username.trim()) return setProblem({ field: "username", text: t("username_needed") });
    if (!password) return setProblem({ field: "password", text: t("password_needed") });
    setBusy(true);
    setProblem(null);
    try {
      await props.client[kind]({ username: username.trim(), password });
    } catch (error) {
      const { code, field } = error as { code?: string; field?: string };
      const isTaken = code === "ALREADY_EXISTS";
      setProblem({ field: isTaken ? "username" : field, text: isTaken ? t("error_taken") : explain(error) });
    } finally {
      setBusy(false);
    }
  };
  const of = (field: string): string | undefined => (problem?.field === field ? problem.text : undefined);
  const isGeneral = problem && problem.field !== "username" && problem.field !== "password";
  return (
    <main class="login">
      <form
        class="card"
        noValidate
        onSubmit={(event) => {
          event.preventDefault();
          void enter("login");
        }}
      >
        <img src="icon.svg" alt="" width="56" height="56" />
        <h1>im</h1>
        <p class="hint">{t("tagline")}</p>
        {props.isOver && !problem && <p class="note" role="alert">{t("session_over")}</p>}
        <Field label={t("username")} value={username} onInput={setUsername} autocomplete="username" problem={of("username")} autoFocus />
        <Field label={t("password")} type="password" value={password} onInput={setPassword} autocomplete="current-password" problem={of("password")} />
        <p class="problem" role="alert">
          {isGeneral ? problem.text : ""}
        </p>
        <div class="buttons">
          <button type="submit" class="primary" aria-disabled={isBusy}>
            {t("log_in")}
          </button>
          <button type="button" class="secondary" aria-disabled={isBusy} onClick={() => void enter("register")}>
            {t("create_account")}
          </button>
        </div>
        <p class="hint">{t("login_hint")}</p>
        <button
          type="button"
          class="link"
          lang={getLanguage() === "zh" ? "en" : "zh-CN"}
          onClick={() => {
            setLanguage(getLanguage() === "zh" ? "en" : "zh");
            again((count) => count + 1);
          }}
        >
          {getLanguage() === "zh" ? "English" : "中文"}
        </button>
      </form>
    </main>
  );
}
