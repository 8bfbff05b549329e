// What the test gives to a script, what every script asks, and how it says what it saw.

export const given = JSON.parse(process.env.GIVEN);
export const url = `${given.server}/graphql`;

export const VIEWER = 'query Me { viewer { user { email } } }';
export const OTHER = 'query Other { viewer { kind } }';
export const LOG_IN = `mutation LogIn($input: LoginInput!) {
  login(input: $input) {
    __typename
    ... on LoginSucceeded { accessToken refreshToken }
  }
}`;
export const LOG_OUT = 'mutation LogOut { logout { sessionEnded } }';
export const VIEWER_EVENTS = 'subscription { viewerEvents { action message } }';

export const withTokens = { input: { ...given.account, delivery: 'BODY' } };
export const withCookies = { input: given.account };

/** What a program branches on, of each error. */
export const refusals = (errors) => errors.map(({ extensions }) => [extensions.code, extensions.reason]);

/** Note what goes over the wire from now on: of a request what it says about itself, of its answer the errors. */
export function watch() {
  const wire = [];
  const unwatched = fetch;
  globalThis.fetch = async (address, init) => {
    const response = await unwatched(address, init);
    const headers = new Headers(init.headers);
    const { query, operationName, extensions } = JSON.parse(init.body);
    const { errors } = await response.clone().json();
    wire.push({
      operation: operationName ?? query.match(/^\w+ (\w+)/)[1],
      hasQuery: query !== undefined,
      hash: extensions?.persistedQuery?.sha256Hash ?? null,
      hasToken: headers.has('authorization'),
      accept: headers.get('accept'),
      status: response.status,
      type: response.headers.get('content-type').split(';')[0],
      refused: refusals(errors ?? []),
    });
    return response;
  };
  return wire;
}

/** Ask with nothing but fetch, for what is not the matter of the client that is tried. */
export async function ask(query, { variables, accessToken, fetched = fetch } = {}) {
  const authorization = accessToken ? { Authorization: `Bearer ${accessToken}` } : {};
  const response = await fetched(url, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', ...authorization },
    body: JSON.stringify({ query, variables }),
  });
  const { data, errors } = await response.json();
  if (errors) throw new Error(JSON.stringify(errors));
  return data;
}

/** Subscribe with a client, and note what comes: the first login, and the end. */
export function listen(subscribe) {
  let hear;
  let finish;
  const heard = new Promise((resolve) => { hear = resolve; });
  const ended = new Promise((resolve) => { finish = resolve; });
  const end = (how) => {
    hear(null);
    finish(how);
  };
  subscribe({ query: VIEWER_EVENTS }, {
    next: ({ data }) => { if (data?.viewerEvents?.action === 'SESSION_START') hear(data.viewerEvents); },
    error: end,
    complete: () => end('complete'),
  });
  return { heard, ended };
}

/** Log the account in elsewhere, again and again until it is heard of: nothing says when a stream has begun. */
export async function logInElsewhereUntil(heard) {
  let waiting = true;
  heard.then(() => { waiting = false; });
  for (let time = 0; waiting && time < 8; time += 1) {
    await ask(LOG_IN, { variables: withTokens });
    await Promise.race([heard, new Promise((resolve) => { setTimeout(resolve, 2000); })]);
  }
  return waiting ? null : heard;
}

export function say(seen) {
  console.log(JSON.stringify(seen));
}
