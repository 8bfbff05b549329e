// The two tokens of a native client, and the next ones: what each of the client libraries is given.

const REFRESH = `mutation Refresh($input: RefreshInput!) {
  refresh(input: $input) {
    ... on RefreshSucceeded { accessToken refreshToken }
    ... on RefreshFailed { code message }
  }
}`;

export class LoggedOut extends Error {}

export class Session {
  constructor(url) {
    this.url = url;
  }

  keep({ accessToken, refreshToken }) {
    Object.assign(this, { accessToken, refreshToken });
  }

  // However many ask at once, one refresh is under way, and all of them wait for it.
  refresh() {
    this.refreshing ??= this.exchange().finally(() => { this.refreshing = undefined; });
    return this.refreshing;
  }

  async exchange() {
    const response = await fetch(this.url, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ query: REFRESH, variables: { input: { refreshToken: this.refreshToken } } }),
    });
    const { data, errors } = await response.json();
    if (errors) throw new Error(errors[0].message); // UNAVAILABLE, say: later, with the same token
    if (data.refresh.code) throw new LoggedOut(data.refresh.code);
    this.keep(data.refresh);
  }
}

export function isUnauthenticated(errors) {
  return errors?.some(({ extensions }) => extensions?.code === 'UNAUTHENTICATED') ?? false;
}
