#!/bin/sh
# Limits for Dialfleet's queues, as broker policies. The program declares its queues with everything that correctness
# needs (quorum, delivery limit 20, dead letters to `parked` at least once); what is here protects the broker's disk, and
# can be changed while everything runs.
#   sh deploy/rabbitmq/policies.sh                                               on a broker's machine
#   docker compose -f deploy/compose.yaml exec rabbitmq sh /policies.sh          in compose
# Environment: RABBITMQCTL (default rabbitmqctl), VHOST (default /), PREFIX (= DIALFLEET_QUEUE_PREFIX, a literal).
set -eu
ctl="${RABBITMQCTL:-rabbitmqctl}"
vhost="${VHOST:-/}"
prefix="$(printf '%s' "${PREFIX:-}" | sed 's/[][\.*^$+?(){}|\\]/\\&/g')"

# policy NAME QUEUES DEFINITION: one policy for the queues of that pattern.
policy() {
    $ctl -q set_policy --vhost "$vhost" --apply-to queues --priority 10 "dialfleet-${PREFIX:-}$1" "^$prefix($2)\$" "$3"
}

# A full queue refuses (overflow reject-publish, declared by the program): the publisher is told, and nothing is lost.
# Leads: a customer's publisher gets a negative confirm and sends again later.
policy ingest 'leads\.ingest' '{"max-length-bytes": 2147483648}'
# "Fill this slot": the planner finds a refused one within its round.
policy dial 'dial' '{"max-length": 500000}'
# Callbacks: when refused, the webhook applies them to the store itself.
policy events 'call\.events' '{"max-length-bytes": 1073741824}'
# Poisonous messages stay in their own queue while `parked` refuses them, so it is far wider than what a person reads.
# An alarm rings at the first message (runbook.md).
policy parked 'parked' '{"max-length-bytes": 4294967296}'

$ctl -q list_policies --vhost "$vhost"
