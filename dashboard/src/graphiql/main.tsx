import 'graphiql/setup-workers/vite';
import 'graphiql/style.css';
import './page.css';

import { GraphiQL } from 'graphiql';
import { useState } from 'react';
import { createRoot } from 'react-dom/client';

import { fetcher } from './fetcher';
import { watchingForTheSchema } from './introspection';
import { storage } from './storage';
import { setupFragment, starterTabs } from './tabs';

// GraphiQL offers its history unless told otherwise, and history records variables, passwords among them.
const plugins: [] = [];

const tabs = starterTabs(location.hash);

function Page() {
  // GraphiQL asks for the schema anew when it is handed another fetcher.
  const watching = () => watchingForTheSchema(fetcher, () => setCurrent(watching));
  const [current, setCurrent] = useState(watching);
  return (
    <GraphiQL
      fetcher={current}
      storage={storage}
      shouldPersistHeaders={false}
      plugins={plugins}
      defaultTabs={tabs}
      // GraphiQL leaves the first tab's variables out of its editor unless they are given here too.
      initialVariables={tabs[0].variables}
    >
      <GraphiQL.Logo>Watchword</GraphiQL.Logo>
    </GraphiQL>
  );
}

createRoot(document.getElementById('root')!).render(<Page />);

// Somebody with GraphiQL open already may follow the setup link in the same tab: that alone loads no page.
addEventListener('hashchange', () => {
  if (location.hash === setupFragment) location.reload();
});
