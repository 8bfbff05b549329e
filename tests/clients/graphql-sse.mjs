// graphql-sse: the same by server-sent events, each subscription with a connection of its own.

import { given, listen, logInElsewhereUntil, refusals, say, url } from './given.mjs';
import { fetchWithCookies, logIn, logOut, session } from './logged-in.mjs';

import { createClient } from 'graphql-sse';
import { isUnauthenticated } from './session.mjs';

const byTokens = { url, headers: () => ({ Authorization: `Bearer ${session.accessToken}` }) };

function subscribe(client, session, request, sink, isSecondTry = false) {
  let refused;
  return client.subscribe(request, {
    next: (result) => {
      if (isUnauthenticated(result.errors)) {
        refused = result.errors;
      } else {
        isSecondTry = false;
        sink.next(result);
      }
    },
    error: sink.error,
    complete: () => {
      if (!refused) sink.complete();
      else if (isSecondTry) sink.error(refused);
      else session.refresh().then(() => subscribe(client, session, request, sink, true), sink.error);
    },
  });
}

const messages = [];
const note = ({ event, data }) => { messages.push(data?.errors ? [event, refusals(data.errors)] : [event]); };
const byCookies = { url, fetchFn: fetchWithCookies };

await logIn();
const client = createClient({ ...(given.by === 'cookies' ? byCookies : byTokens), on: { message: note } });
const { heard, ended } = listen((request, sink) =>
  given.by === 'cookies' ? client.subscribe(request, sink) : subscribe(client, session, request, sink));
const event = await logInElsewhereUntil(heard);
const begun = performance.now();
await logOut();
const end = await ended;
const seconds = (performance.now() - begun) / 1000;
say({ event, end: end.message ?? end, messages, seconds });
