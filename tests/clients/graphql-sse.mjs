// graphql-sse: the same by server-sent events, each subscription with a connection of its own.

import { createClient } from 'graphql-sse';
import { given, listen, logInElsewhereUntil, refusals, say, url } from './given.mjs';
import { fetchWithCookies, logIn, logOut, session } from './logged-in.mjs';
import { isUnauthenticated } from './session.mjs';

const byTokens = { url, headers: () => ({ Authorization: `Bearer ${session.accessToken}` }) };

const messages = [];
const note = ({ event, data }) => { messages.push(data?.errors ? [event, refusals(data.errors)] : [event]); };

const client = createClient({
  ...(given.by === 'cookies' ? { url, fetchFn: fetchWithCookies } : byTokens),
  on: { message: note },
});

function subscribe(request, sink) {
  let refused;
  return client.subscribe(request, {
    next: (result) => {
      if (isUnauthenticated(result.errors)) refused = result.errors;
      else sink.next(result);
    },
    error: sink.error,
    complete: () => {
      if (refused) session.refresh().then(() => subscribe(request, sink), sink.error);
      else sink.complete();
    },
  });
}

await logIn();
const { heard, ended } = listen(given.by === 'cookies' ? client.subscribe : subscribe);
const event = await logInElsewhereUntil(heard);
const begun = performance.now();
await logOut();
const end = await ended;
const seconds = (performance.now() - begun) / 1000;
say({ event, end: end.message ?? end, messages, seconds });
