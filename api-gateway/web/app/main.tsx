import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import { createClient, type ImClient } from "im-client";
import { explain, locale } from "./i18n";
import { Model, ModelContext } from "./model";
import { applyLook } from "./look";
import { LoginView } from "./views/login";
import { Shell } from "./views/shell";

function App(props: { client: ImClient }) {
  const { client } = props;
  const [model, setModel] = useState(() => (client.userId ? new Model(client) : null));
  const [reason, setReason] = useState("");
  useEffect(
    () =>
      client.on("session", (session) => {
        setReason(session.reason ?? "");
        // Nothing of one account is left for the next.
        setModel((before) => {
          if (session.userId && before?.me === session.userId) return before;
          before?.close();
          return session.userId ? new Model(client) : null;
        });
      }),
    [client],
  );
  if (!model) return <LoginView client={client} isOver={reason !== "" && reason !== "logout"} />;
  return (
    <ModelContext.Provider value={model} key={model.me}>
      <Shell />
    </ModelContext.Provider>
  );
}

async function start(): Promise<void> {
  const root = document.getElementById("app")!;
  document.documentElement.lang = locale();
  applyLook();
  try {
    render(<App client={await createClient()} />, root);
  } catch (error) {
    render(<p class="broken">{explain(error)}</p>, root);
    window.setTimeout(() => void start(), 5_000);
  }
}

void start();
