import type { GraphiQLProps } from 'graphiql';

import { readEvents } from './events';

export type Fetcher = GraphiQLProps['fetcher'];

export const fetcher: Fetcher = async (operation, options) => {
  const headers = new Headers({
    'Content-Type': 'application/json',
    // Of whoever takes all three, a subscription is answered with events, and everything else with a single answer.
    Accept: 'application/graphql-response+json, application/json, text/event-stream',
  });
  for (const [name, value] of Object.entries<string>(options?.headers ?? {})) headers.set(name, value);

  const stop = new AbortController();
  const response = await fetch('/graphql', {
    method: 'POST',
    credentials: 'same-origin',
    headers,
    body: JSON.stringify(operation),
    signal: stop.signal,
  });
  const type = response.headers.get('Content-Type') ?? '';
  if (type.startsWith('text/event-stream')) return readEvents(response.body!, stop);
  // Our refusals are JSON whatever their status, and worth reading. A proxy's error page is not.
  if (!/[/+]json\b/.test(type)) {
    throw new Error(`The server answered ${response.status} ${response.statusText} and no JSON.`);
  }
  return response.json();
};
