import createFirstAdministrator from './operations/createFirstAdministrator.graphql?raw';
import logIn from './operations/logIn.graphql?raw';
import myEvents from './operations/myEvents.graphql?raw';
import mySessions from './operations/mySessions.graphql?raw';
import signUp from './operations/signUp.graphql?raw';
import whoAmI from './operations/whoAmI.graphql?raw';

interface Tab {
  query: string;
  variables: string;
}

export const setupFragment = '#setup';

const everyday = [
  tab(signUp, { input: { email: 'ada@example.org', password: '', displayName: 'Ada Lovelace' } }),
  tab(logIn, { input: { email: 'ada@example.org', password: '' } }),
  tab(whoAmI),
  tab(mySessions),
  tab(myEvents),
] as const;

const setup = tab(createFirstAdministrator, { input: { setupToken: '', email: '', password: '', displayName: '' } });

/** The fragment chooses the tabs but never fills them: URLs end up in histories and logs, the setup token must not. */
export function starterTabs(fragment: string): [Tab, ...Tab[]] {
  return fragment === setupFragment ? [setup, ...everyday] : [...everyday];
}

function tab(query: string, variables?: object): Tab {
  return { query, variables: variables ? JSON.stringify(variables, null, 2) : '' };
}
