// Apollo Client: tokens in a header, a refresh and a second try after UNAUTHENTICATED, and persisted queries.

import { LOG_IN, LOG_OUT, OTHER, VIEWER, given, refusals, say, url, watch, withTokens } from './given.mjs';

import { ApolloClient, ApolloLink, CombinedGraphQLErrors, HttpLink, InMemoryCache, gql } from '@apollo/client';
import { SetContextLink } from '@apollo/client/link/context';
import { ErrorLink } from '@apollo/client/link/error';
import { PersistedQueryLink } from '@apollo/client/link/persisted-queries';
import { from, switchMap } from 'rxjs';
import { Session, isUnauthenticated } from './session.mjs';

const session = new Session(url);

const refreshAndRetry = new ErrorLink(({ error, operation, forward }) => {
  if (CombinedGraphQLErrors.is(error) && isUnauthenticated(error.errors) && session.refreshToken) {
    return from(session.refresh()).pipe(switchMap(() => forward(operation)));
  }
});

const withAccessToken = new SetContextLink(({ headers }) =>
  session.accessToken ? { headers: { ...headers, authorization: `Bearer ${session.accessToken}` } } : {});

async function sha256(text) {
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text));
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

const client = new ApolloClient({
  link: ApolloLink.from([
    refreshAndRetry,
    withAccessToken,
    new PersistedQueryLink({ sha256 }),
    new HttpLink({ uri: url }),
  ]),
  cache: new InMemoryCache(),
});

const wire = watch();
const viewer = async () => {
  const { data } = await client.query({ query: gql(VIEWER), fetchPolicy: 'network-only' });
  return data.viewer.user.email;
};
const logIn = async () => {
  const { data } = await client.mutate({ mutation: gql(LOG_IN), variables: withTokens });
  session.keep(data.login);
};

const nobody = await viewer().catch((error) => refusals(error.errors));
await logIn();
const loggedIn = await viewer();
session.keep(given.kept);
const before = wire.splice(0);
const other = client.query({ query: gql(OTHER) });
const refreshed = [await viewer(), (await other).data.viewer.kind];
const { data: { logout } } = await client.mutate({ mutation: gql(LOG_OUT) });
const loggedOut = await viewer().catch((error) => error.message);

say({ nobody, loggedIn, refreshed, logout: logout.sessionEnded, loggedOut, before, after: wire });
