// urql: its exchange for authentication adds the token, refreshes after UNAUTHENTICATED, and tries again.

import { LOG_IN, LOG_OUT, OTHER, VIEWER, given, refusals, say, url, watch, withTokens } from './given.mjs';

import { Client, fetchExchange } from '@urql/core';
import { authExchange } from '@urql/exchange-auth';
import { Session, isUnauthenticated } from './session.mjs';

const session = new Session(url);

const auth = authExchange(async ({ appendHeaders }) => ({
  addAuthToOperation: (operation) =>
    session.accessToken ? appendHeaders(operation, { Authorization: `Bearer ${session.accessToken}` }) : operation,
  didAuthError: ({ graphQLErrors }) => isUnauthenticated(graphQLErrors) && Boolean(session.refreshToken),
  refreshAuth: () => session.refresh(),
}));

const client = new Client({ url, exchanges: [auth, fetchExchange], preferGetMethod: false });

const wire = watch();
const viewer = async () => {
  const { data, error } = await client.query(VIEWER, {});
  return error ? refusals(error.graphQLErrors) : data.viewer.user.email;
};

const nobody = await viewer();
const { data: { login } } = await client.mutation(LOG_IN, withTokens);
session.keep(login);
const loggedIn = await viewer();
session.keep(given.kept);
const before = wire.splice(0);
const other = client.query(OTHER, {}).toPromise();
const refreshed = [await viewer(), (await other).data.viewer.kind];
const { data: { logout } } = await client.mutation(LOG_OUT, {});
const loggedOut = await client.query(VIEWER, {}).then(({ error }) => error.networkError.message);

say({ nobody, loggedIn, refreshed, logout: logout.sessionEnded, loggedOut, before, after: wire });
