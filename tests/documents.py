"""The documents by which several test files make API tokens and service accounts."""

NO_CREDENTIAL = "U2VydmljZUFjY291bnRDcmVkZW50aWFsOng="  # the id of one that there is not

CREATE = """
mutation($input: CreateServiceAccountInput!) {
  createServiceAccount(input: $input) { ... on CreateServiceAccountSucceeded { serviceAccount { id clientId } } }
}
"""
CREATE_SECRET = """
mutation($input: CreateServiceAccountSecretInput!) {
  createServiceAccountSecret(input: $input) {
    ... on CreateServiceAccountSecretSucceeded { secret credential { id } }
  }
}
"""
CREATE_KEY = """
mutation($input: CreateServiceAccountKeyInput!) {
  createServiceAccountKey(input: $input) {
    ... on CreateServiceAccountKeySucceeded { keyFile credential { id keyId } }
  }
}
"""
REVOKE = """
mutation($input: RevokeServiceAccountCredentialInput!) {
  revokeServiceAccountCredential(input: $input) { serviceAccount { id } }
}
"""
DISABLE = "mutation($input: DisableServiceAccountInput!) { disableServiceAccount(input: $input) { __typename } }"
CREATE_API_TOKEN = """
mutation($input: CreateApiTokenInput!) { createApiToken(input: $input) { ... on CreateApiTokenSucceeded { token } } }
"""
SERVICE = "{ viewer { kind scopes } }"
