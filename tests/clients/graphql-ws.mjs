// graphql-ws: a subscription by cookies or tokens, which begins, goes on with fresh tokens, and ends with the session.

import WebSocket from 'ws';
import { given, listen, logInElsewhereUntil, refusals, say, url } from './given.mjs';
import { jar, logIn, logOut, session } from './logged-in.mjs';

import { createClient } from 'graphql-ws';

function connect(address, session) {
  let refused = false;
  return createClient({
    url: address,
    connectionParams: async () => {
      if (refused) await session.refresh();
      return { authorization: `Bearer ${session.accessToken}` };
    },
    on: { closed: ({ code }) => { refused = code === 4403; } },
  });
}

/** What a browser does by itself: the page's cookies go along. */
class SocketWithCookies extends WebSocket {
  constructor(address, protocols) {
    super(address, protocols, { headers: { Cookie: jar.getCookieStringSync(url) } });
  }
}

await logIn();
const address = url.replace('http', 'ws');
globalThis.WebSocket = given.by === 'cookies' ? SocketWithCookies : WebSocket;
const client = given.by === 'cookies' ? createClient({ url: address }) : connect(address, session);

const closed = [];
const gone = new Promise((resolve) => {
  client.on('closed', ({ code, reason }) => {
    closed.push([code, reason]);
    if (code !== 4403) resolve();
  });
});

const { heard, ended } = listen(client.subscribe);
const event = await logInElsewhereUntil(heard);
const begun = performance.now();
await logOut();
const end = await ended;
await gone;
const seconds = (performance.now() - begun) / 1000;
say({ event, end: Array.isArray(end) ? refusals(end) : String(end.reason ?? end), closed, seconds });
