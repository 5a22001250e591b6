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
#       "claims": {"env": ..., "region": ..., "roles": [...], "consent": true | {"gdpr": true}},
#       "conditions": {"prefix": [...], "ExistingObjectTag/gdpr-class": [...], "ExistingObjectTag/region": [...]}}
#
#    Its path is bucket and object, for lists bucket and condition `prefix`; whatever precedes the first kind in it is
#    the store's root. `ExistingObjectTag/...` are the tags of the stored object on reading, and on writing those
#    that are sent along. `account` and `owner` buy nothing: root is judged like anybody.
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

who := input.user if http

who := {
	"groups": object.get(input, "groups", null),
	"roles": object.get(claims, "roles", null),
	"labels": claims,
} if {
	s3
}

claims := input.claims if has_claims

claims := {} if not has_claims

has_claims if is_object(input.claims)

consented if {
	http
	who.consent.gdpr == true
}

consented if {
	s3
	claims.consent == true
}

consented if {
	s3
	claims.consent.gdpr == true
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

# ── What must hold ────────────────────────────────────────────────────────────────────────────────────────────

# Plain names between single slashes: nothing that a server might decode, expand or resolve into another path.
placed if regex.match(
	`^/(models|datasets|reports|cards)/[a-z][a-z0-9-]*(/[A-Za-z0-9][A-Za-z0-9._+@=-]*)*$`,
	path,
)

env := split(path, "/")[2] if placed

below_env if split(path, "/")[3]

same_env if who.labels.env == env

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
	some group in who.groups
	group == "privacy"
}

in_group if {
	some group in who.groups
	group == reader_group
}

reader_group := "privacy" if sensitive

reader_group := "ml-engineers" if not sensitive

sensitive if what.gdpr_class == "sensitive"

in_role if {
	some role in who.roles
	role == "trainer"
}

in_role if {
	some role in who.roles
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
	who.labels.region == what.region
}

regional if what.region != null

odd_object if {
	what != null
	not has_object
}

has_object if is_object(what)

odd_user if {
	some group in who.groups
	not is_string(group)
}

odd_user if {
	some role in who.roles
	not is_string(role)
}

odd_user if {
	not has_groups
	who.groups != null
}

odd_user if {
	not has_roles
	who.roles != null
}

has_groups if is_array(who.groups)

has_roles if is_array(who.roles)

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

reasons contains sprintf("label env %s does not match %s", [who.labels.env, env]) if {
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

reasons contains sprintf("label region %s does not match %s", [who.labels.region, what.region]) if {
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

judgeable if http

judgeable if s3

# Only plain names are repeated in a reason.
env_labelled if {
	is_string(who.labels.env)
	regex.match(`^[A-Za-z0-9._-]{1,63}$`, who.labels.env)
}

region_labelled if {
	is_string(who.labels.region)
	regex.match(`^[A-Za-z0-9._-]{1,63}$`, who.labels.region)
}

region_known if {
	is_string(what.region)
	regex.match(`^[A-Za-z0-9._-]{1,63}$`, what.region)
}
