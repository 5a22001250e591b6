# Who may read, write and delete the objects of the platform.
#
# One file, asked by three: an S3 server through OPA 1.x, the decision service, and the object store itself before
# every access. It judges two forms of request and treats them alike:
#
# 1. HTTP, as the object store asks ("object", and "region" anywhere, may be left out or null):
#
#      {"method": "GET", "path": "/models/prod/reviews_sentiment/3f2a91c0/model.json",
#       "user": {"groups": [...], "roles": [...], "labels": {"env": ..., "region": ...}, "consent": {"gdpr": true}},
#       "object": {"gdpr_class": "internal", "region": "cn-shanghai"}}
#
# 2. The access-management plugin of S3 servers:
#
#      {"account": ..., "groups": [...], "action": "s3:GetObject", "bucket": ..., "object": ..., "owner": false,
#       "claims": {"groups": [...], "env": ..., "region": ..., "roles": [...], "consent": true | {"gdpr": true}},
#       "conditions": {"prefix": [...], "ExistingObjectTag/gdpr-class": [...], "ExistingObjectTag/region": [...]}}
#
#    Its path is bucket and object, for lists bucket and condition `prefix`; whatever precedes the first kind in it is
#    the store's root. `ExistingObjectTag/...` are the tags of the stored object on reading, and on writing those
#    that are sent along. `account` and `owner` buy nothing: root is judged like anybody.
#
#    What a server knows of a user stands in several places, by the way the user came:
#
#      OpenID            claims: groups, env, region, roles, consent, as the provider names them; groups of the request null
#      LDAP              groups of the request, as distinguished names; claims: ldapAttrib_env, _region, _roles, _consent,
#                        lists of texts, of the attributes that the server is told to look up (consent: TRUE)
#      service account   as its user, with `parent` and `sa-policy` besides; a policy of its own is in `sessionPolicy`
#
#    Each is taken from there. Where two of them tell the same thing differently, nobody knows which is true: denied.
#    Conditions repeat claims and groups (`env`, `groups`), but also hold every header and query parameter of the request
#    under its own name. Whatever they say of a user may be the user's own words: they can contradict, and never vouch.
#
# The rules say what must hold, so whatever is missing, unknown or of another type denies; `reasons` names each rule
# that does not hold. OPA and rego-cpp agree on this file because `not` negates plain rules only, and a type is asked
# before a value. Comparisons stand where sets, objects and functions would be shorter: rego-cpp copies each of them
# whenever they are used, and this file is asked before every access.
package minio.auth

# Both at once, for whoever pays for each query.
decision := {"allow": allow, "reasons": reasons}

default allow := false

allow if {
	reading
	placed
	same_env
	class_known
	same_region
	consented
	in_group
	not blind
	not odd_user
	not odd_session
}

allow if {
	writing
	placed
	below_env
	same_env
	class_known
	same_region
	in_role
	not odd_user
	not odd_session
}

# ── The two forms, made one ───────────────────────────────────────────────────────────────────────────────────

http if {
	is_string(input.path)
	not input.action
}

s3 if {
	is_string(input.action)
	is_string(input.bucket)
	is_string(input.object)
	not input.method
}

reading if {
	http
	input.method == "GET"
}

reading if {
	http
	input.method == "HEAD"
}

reading if {
	s3
	regex.match(`^s3:(GetObject(Attributes|LegalHold|Retention|Tagging|Version)?|ListBucket(Versions)?)$`, input.action)
}

writing if {
	http
	input.method == "PUT"
}

writing if {
	http
	input.method == "POST"
}

writing if {
	http
	input.method == "DELETE"
}

writing if {
	s3
	regex.match(
		`^s3:(PutObject|DeleteObject(Version)?|AbortMultipartUpload|ListMultipartUploadParts)$`,
		input.action,
	)
}

path := input.path if http

path := regex.find_n(`/(models|datasets|reports|cards)/.*`, address, 1)[0] if {
	s3
	regex.match(`^(/[A-Za-z0-9][A-Za-z0-9._+@=-]*)+$`, address)
}

address := concat("/", ["", input.bucket, input.object]) if {
	s3
	not listing
}

address := concat("/", ["", input.bucket, trim_suffix(input.conditions.prefix[0], "/")]) if {
	listing
	input.object == ""
	is_array(input.conditions.prefix)
	count(input.conditions.prefix) == 1
	is_string(input.conditions.prefix[0])

	# For a server `prod` is also the beginning of `prod-eu/`: only a slash ends an environment.
	regex.match(
		`/(models|datasets|reports|cards)/[^/]+/`,
		concat("/", ["", input.bucket, input.conditions.prefix[0]]),
	)
}

listing if {
	s3
	startswith(input.action, "s3:ListBucket")
}

consented if {
	http
	input.user.consent.gdpr == true
}

consented if {
	s3
	consent_in_claims
}

consented if {
	s3
	consent_in_ldap
	not claims_tell_consent
}

what := input.object if http

what := {"gdpr_class": class_tag, "region": region_tag} if s3

# A tag is a list of one value; null where there is none, and no name where the list is anything else.
class_tag := null if not tells_class

tells_class if class_tags != null

tells_class if class_tags == null

class_tag := class_tags[0] if has_class_tag

class_tag := "" if {
	tells_class
	not has_class_tag
}

has_class_tag if {
	is_array(class_tags)
	count(class_tags) == 1
	is_string(class_tags[0])
}

class_tags := input.conditions["ExistingObjectTag/gdpr-class"]

region_tag := null if not tells_region

tells_region if region_tags != null

tells_region if region_tags == null

region_tag := region_tags[0] if has_region_tag

region_tag := "" if {
	tells_region
	not has_region_tag
}

has_region_tag if {
	is_array(region_tags)
	count(region_tags) == 1
	is_string(region_tags[0])
}

region_tags := input.conditions["ExistingObjectTag/region"]

# ── Where servers put what they know of a user ────────────────────────────────────────────────────────────────

groups := input.user.groups if http

groups := input.groups if request_tells_groups

groups := input.claims.groups if {
	claims_tell_groups
	not request_tells_groups
}

request_tells_groups if {
	s3
	input.groups != null
	input.groups != []
}

claims_tell_groups if {
	s3
	input.claims.groups != null
}

roles := input.user.roles if http

roles := input.claims.roles if claims_tell_roles

roles := input.claims.ldapAttrib_roles if {
	s3
	not claims_tell_roles
}

claims_tell_roles if {
	s3
	input.claims.roles != null
}

label_env := input.user.labels.env if http

label_env := input.claims.env if claims_tell_env

label_env := input.claims.ldapAttrib_env[0] if {
	s3
	not claims_tell_env
	is_array(input.claims.ldapAttrib_env)
	count(input.claims.ldapAttrib_env) == 1
}

claims_tell_env if {
	s3
	input.claims.env != null
}

label_region := input.user.labels.region if http

label_region := input.claims.region if claims_tell_region

label_region := input.claims.ldapAttrib_region[0] if {
	s3
	not claims_tell_region
	is_array(input.claims.ldapAttrib_region)
	count(input.claims.ldapAttrib_region) == 1
}

claims_tell_region if {
	s3
	input.claims.region != null
}

claims_tell_consent if input.claims.consent != null

consent_in_claims if input.claims.consent == true

consent_in_claims if input.claims.consent.gdpr == true

consent_in_ldap if input.claims.ldapAttrib_consent == ["TRUE"]

consent_in_ldap if input.claims.ldapAttrib_consent == ["true"]

odd_session if {
	s3
	count(doubts) > 0
}

doubts contains "groups stand in several places, which disagree" if odd_groups

doubts contains "roles stand in several places, which disagree" if odd_roles

doubts contains "label env stands in several places, which disagree" if odd_env

doubts contains "label region stands in several places, which disagree" if odd_region

doubts contains "consent stands in several places, which disagree" if odd_consent

doubts contains "session has a policy of its own, which nobody judges here" if own_policy

doubts contains "session is not of the user whom the server names" if other_parent

odd_groups if {
	request_tells_groups
	claims_tell_groups
	input.groups != input.claims.groups
}

odd_groups if {
	s3
	input.conditions.groups != null
	input.conditions.groups != groups
}

odd_roles if {
	claims_tell_roles
	input.claims.ldapAttrib_roles != null
	input.claims.roles != input.claims.ldapAttrib_roles
}

odd_roles if {
	s3
	input.conditions.roles != null
	input.conditions.roles != roles
}

odd_env if {
	claims_tell_env
	input.claims.ldapAttrib_env != null
	input.claims.ldapAttrib_env != [input.claims.env]
}

odd_env if {
	s3
	input.conditions.env != null
	input.conditions.env != [label_env]
}

odd_region if {
	claims_tell_region
	input.claims.ldapAttrib_region != null
	input.claims.ldapAttrib_region != [input.claims.region]
}

odd_region if {
	s3
	input.conditions.region != null
	input.conditions.region != [label_region]
}

odd_consent if {
	s3
	claims_tell_consent
	consent_in_ldap
	not consent_in_claims
}

odd_consent if {
	s3
	consent_in_claims
	input.claims.ldapAttrib_consent != null
	not consent_in_ldap
}

odd_consent if {
	s3
	input.conditions.consent != null
	input.conditions.consent != ["true"]
}

# A server that asks leaves the policy of a session, which narrows it, to whoever is asked.
own_policy if {
	s3
	input.claims.sessionPolicy != null
}

own_policy if {
	s3
	input.claims["sa-policy"] != null
	input.claims["sa-policy"] != "inherited-policy"
}

# Likewise whether the token is of the user whose key signed the request.
other_parent if {
	s3
	input.claims.parent != null
	input.conditions.userid != null
	input.conditions.userid != [input.claims.parent]
}

ldap if {
	s3
	is_string(input.claims.ldapUser)
}

# ── What must hold ────────────────────────────────────────────────────────────────────────────────────────────

# Plain names between single slashes: nothing that a server might decode, expand or resolve into another path.
placed if regex.match(
	`^/(models|datasets|reports|cards)/[a-z][a-z0-9-]*(/[A-Za-z0-9][A-Za-z0-9._+@=-]*)*$`,
	path,
)

env := split(path, "/")[2] if placed

below_env if split(path, "/")[3]

same_env if label_env == env

# Servers show no tags of the stored object when they copy from it or select in it: it may be sensitive.
blind if {
	s3
	input.conditions["X-Amz-Copy-Source"]
	not in_privacy
}

blind if {
	s3
	input.conditions["select-type"]
	not in_privacy
}

blind if {
	s3
	input.conditions != null
	not is_object(input.conditions)
}

in_privacy if {
	some group in groups
	group == "privacy"
}

in_privacy if {
	ldap
	some group in groups
	is_string(group)
	regex.match(`^[Cc][Nn]=privacy(,[A-Za-z]+=[A-Za-z0-9 ._-]+)+$`, group)
}

in_group if {
	sensitive
	in_privacy
}

in_group if {
	not sensitive
	in_engineers
}

in_engineers if {
	some group in groups
	group == "ml-engineers"
}

in_engineers if {
	ldap
	some group in groups
	is_string(group)
	regex.match(`^[Cc][Nn]=ml-engineers(,[A-Za-z]+=[A-Za-z0-9 ._-]+)+$`, group)
}

sensitive if what.gdpr_class == "sensitive"

in_role if {
	some role in roles
	role == "trainer"
}

in_role if {
	some role in roles
	role == "retention"
}

class_known if {
	not classified
	not odd_object
}

class_known if what.gdpr_class == "public"

class_known if what.gdpr_class == "internal"

class_known if what.gdpr_class == "personal"

class_known if sensitive

classified if what.gdpr_class != null

same_region if not regional

same_region if {
	is_string(what.region)
	label_region == what.region
}

regional if what.region != null

odd_object if {
	what != null
	not has_object
}

has_object if is_object(what)

odd_user if {
	some group in groups
	not is_string(group)
}

odd_user if {
	some role in roles
	not is_string(role)
}

odd_user if {
	not has_groups
	groups != null
}

odd_user if {
	not has_roles
	roles != null
}

has_groups if is_array(groups)

has_roles if is_array(roles)

# ── Why not ───────────────────────────────────────────────────────────────────────────────────────────────────

reasons contains "request has neither the form of an HTTP request nor that of an S3 server" if not judgeable

reasons contains "method or action is unknown" if {
	judgeable
	not reading
	not writing
}

reasons contains "path is not a plain /<kind>/<env>/... path of models, datasets, reports or cards" if {
	judgeable
	not placed
}

reasons contains "path names nothing below its environment" if {
	writing
	placed
	not below_env
}

reasons contains "user has no label env" if {
	judgeable
	not same_env
	not env_labelled
}

reasons contains sprintf("label env %s does not match %s", [label_env, env]) if {
	placed
	not same_env
	env_labelled
}

reasons contains "gdpr class of the object is not public, internal, personal or sensitive" if {
	judgeable
	not class_known
}

reasons contains "region of the object is not a plain name" if {
	regional
	not same_region
	not region_known
}

reasons contains sprintf("user has no label region, and the object is in %s", [what.region]) if {
	regional
	not same_region
	region_known
	not region_labelled
}

reasons contains sprintf("label region %s does not match %s", [label_region, what.region]) if {
	regional
	not same_region
	region_known
	region_labelled
}

reasons contains "user is not in group ml-engineers" if {
	reading
	not sensitive
	not in_group
}

reasons contains "user is not in group privacy, which alone reads sensitive objects" if {
	reading
	sensitive
	not in_group
}

reasons contains "class of the object is not shown, and user is not in group privacy" if {
	reading
	blind
}

reasons contains "user has given no GDPR consent" if {
	reading
	not consented
}

reasons contains "user has neither role trainer nor role retention" if {
	writing
	not in_role
}

reasons contains "groups or roles are not lists of names" if odd_user

reasons contains doubt if {
	s3
	some doubt in doubts
}

judgeable if http

judgeable if s3

# Only plain names are repeated in a reason.
env_labelled if {
	is_string(label_env)
	regex.match(`^[A-Za-z0-9._-]{1,63}$`, label_env)
}

region_labelled if {
	is_string(label_region)
	regex.match(`^[A-Za-z0-9._-]{1,63}$`, label_region)
}

region_known if {
	is_string(what.region)
	regex.match(`^[A-Za-z0-9._-]{1,63}$`, what.region)
}
