// A login by cookies, by tokens, or by tokens of earlier: what a subscription goes by.

import makeFetchCookie from 'fetch-cookie';
import { CookieJar } from 'tough-cookie';
import { LOG_IN, LOG_OUT, ask, given, url, withCookies, withTokens } from './given.mjs';
import { Session } from './session.mjs';

export const jar = new CookieJar();
export const fetchWithCookies = makeFetchCookie(fetch, jar);
export const session = new Session(url);

const begin = {
  cookies: () => ask(LOG_IN, { variables: withCookies, fetched: fetchWithCookies }),
  tokens: async () => session.keep((await ask(LOG_IN, { variables: withTokens })).login),
  'tokens of earlier': () => session.keep(given.kept),
};

export const logIn = () => begin[given.by]();

export const logOut = () =>
  ask(LOG_OUT, given.by === 'cookies' ? { fetched: fetchWithCookies } : { accessToken: session.accessToken });
