//! Service accounts and who may do what.

use serde_json::{Value, json};

use super::random::Random;
use super::{Body, Shape, Share, Slot, text};

pub(super) fn shapes() -> Vec<Shape> {
    let rbac = "rbac.authorization.k8s.io";
    let shape = |group, plural, kind, namespaced, parts, build| Shape {
        group,
        version: "v1",
        plural,
        kind,
        namespaced,
        wave: u8::from(namespaced),
        share: Share::Parts(parts),
        build,
    };
    vec![
        shape(
            "",
            "serviceaccounts",
            "ServiceAccount",
            true,
            40,
            service_account,
        ),
        shape(rbac, "roles", "Role", true, 18, role),
        shape(rbac, "rolebindings", "RoleBinding", true, 22, role_binding),
        shape(rbac, "clusterroles", "ClusterRole", false, 5, role),
        shape(
            rbac,
            "clusterrolebindings",
            "ClusterRoleBinding",
            false,
            5,
            cluster_role_binding,
        ),
    ]
}

fn service_account(slot: &Slot<'_>, random: &mut Random) -> Body {
    let mut fields = json!({"automountServiceAccountToken": random.chance(70)});
    if let Some((_, secret)) = slot
        .sibling("secrets", random)
        .filter(|_| random.chance(40))
    {
        fields["imagePullSecrets"] = json!([{"name": secret}]);
    }
    let role = format!(
        "arn:aws:iam::{:012}:role/{}",
        random.below(999_999_999_999),
        text::words(random, 2, "-")
    );
    Body {
        fields,
        annotations: vec![("eks.amazonaws.com/role-arn".to_owned(), role)],
        ..Body::default()
    }
}

fn role(_: &Slot<'_>, random: &mut Random) -> Body {
    let count = random.between(2, 6);
    let rules: Vec<Value> = (0..count)
        .map(|_| {
            let (group, resources) = match random.below(4) {
                0 => ("", json!(["pods", "pods/log", "configmaps"])),
                1 => ("apps", json!(["deployments", "statefulsets"])),
                2 => ("batch", json!(["jobs", "cronjobs"])),
                _ => ("coordination.k8s.io", json!(["leases"])),
            };
            let mut rule = json!({"apiGroups": [group], "resources": resources, "verbs": ["get", "list", "watch", random.pick(&["create", "patch", "delete"])]});
            if random.chance(25) {
                rule["resourceNames"] = json!([text::words(random, 2, "-")]);
            }
            rule
        })
        .collect();
    Body {
        fields: json!({"rules": rules}),
        applied: random.chance(30),
        ..Body::default()
    }
}

fn role_binding(slot: &Slot<'_>, random: &mut Random) -> Body {
    let role = slot
        .sibling("roles", random)
        .map(|(_, name)| ("Role", name));
    let (kind, name) = role.unwrap_or(("ClusterRole", "view".to_owned()));
    binding(
        kind,
        &name,
        slot.namespace(),
        slot.sibling("serviceaccounts", random)
            .map(|(_, name)| name),
    )
}

fn cluster_role_binding(slot: &Slot<'_>, random: &mut Random) -> Body {
    // Cluster roles are placed by the same rule, so that a sibling is one of this data set.
    let name = slot
        .sibling("clusterroles", random)
        .map_or_else(|| "view".to_owned(), |(_, name)| name);
    binding(
        "ClusterRole",
        &name,
        slot.namespace(),
        slot.sibling("serviceaccounts", random)
            .map(|(_, name)| name),
    )
}

fn binding(kind: &str, role: &str, namespace: &str, account: Option<String>) -> Body {
    let account = account.unwrap_or_else(|| "default".to_owned());
    let fields = json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace},
                     {"kind": "Group", "name": "équipe-exploitation", "apiGroup": "rbac.authorization.k8s.io"}]});
    Body {
        fields,
        ..Body::default()
    }
}
