//! The HTTPS API (`/api/v1`).
//!
//! Everything needs the operator's token, except: `healthz` and the signed repository, which anybody may read; `enrol`,
//! which has a token of its own; `renewal`, which takes a device's signature; a device's own order and memory, which need its certificate; and artifacts, which devices read
//! too. All refusals are problem documents.

mod artifacts;
mod audit;
mod campaigns;
mod checkpoints;
mod devices;
mod domains;
mod enrolment;
mod extract;
mod operators;
mod problem;
mod range;
mod remainder;
mod repository;
mod standing;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::middleware;
use axum::routing::{delete, get, post, put};
use http::{Method, Uri};

use crate::coordinator::Coordinator;
use extract::Operator;
use problem::Refused;

/// Bodies of plain requests.
const SMALL_BODY_MAX: usize = 64 * 1024;

/// All paths.
pub fn router(coordinator: Arc<Coordinator>) -> Router {
    let v1 = Router::new()
        .route("/keys", get(enrolment::keys))
        .route("/tokens", post(enrolment::token))
        .route("/enrol", post(enrolment::enrol))
        .route("/renewal", get(enrolment::challenge).post(enrolment::renew))
        .route("/repository", put(repository::put))
        .route("/repository/{file}", get(repository::get))
        .route("/artifacts/{sha256}", put(artifacts::put).get(artifacts::get))
        .route("/devices", get(devices::list))
        .route("/devices/{device}", get(devices::show))
        .route("/devices/{device}/why", get(devices::waits))
        .route("/devices/{device}/quarantine", put(devices::quarantine).delete(devices::release))
        .route("/devices/{device}/revocation", put(standing::revoke).delete(standing::reinstate))
        .route("/devices/{device}/approval", put(standing::approve))
        .route("/devices/{device}/decommission", post(standing::decommission))
        .route("/devices/{device}/forecast", get(devices::forecast))
        .route("/devices/{device}/order", get(devices::order))
        .route("/devices/{device}/checkpoint", put(checkpoints::put).get(checkpoints::get))
        .route("/domains/{domain}/graph", get(domains::graph).put(domains::set_graph))
        .route("/domains/{domain}/graph/observed", get(domains::observed_graph))
        .route("/domains/{domain}/drm", get(domains::drm).put(domains::set_drm))
        .route(
            "/domains/{domain}/schedule",
            get(domains::schedule).put(domains::set_schedule).delete(domains::clear_schedule),
        )
        .route(
            "/domains/{domain}/follow/{component}",
            get(domains::followed).put(domains::follow).delete(domains::unfollow),
        )
        .route("/audit", get(audit::entries))
        .route("/audit/head", get(audit::head))
        .route("/campaigns", get(campaigns::list).post(campaigns::start))
        .route("/campaigns/plan", post(campaigns::plan))
        .route("/operators", get(operators::list).post(operators::add))
        .route("/operators/{operator}", delete(operators::remove))
        .route("/campaigns/{campaign}", get(campaigns::show))
        .route("/campaigns/{campaign}/pause", post(campaigns::hold))
        .route("/campaigns/{campaign}/resume", post(campaigns::go_on))
        .route("/campaigns/{campaign}/abort", post(campaigns::stop))
        .route("/campaigns/{campaign}/approve", post(campaigns::allow))
        .route("/campaigns/{campaign}/close", post(campaigns::end))
        .route("/campaigns/{campaign}/retry", post(campaigns::try_again));
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/metrics", get(metrics))
        .nest("/api/v1", v1)
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        // Every handler has its own, named limit.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn(remainder::heard_out))
        .with_state(coordinator)
}

/// Figures for Prometheus (text format 0.0.4).
async fn metrics(_: Operator, State(state): State<Arc<Coordinator>>) -> String {
    let devices = state.registry.devices().count();
    let open = state.registry.devices().all().iter().filter(|record| record.state.order.is_some()).count();
    [
        ("takt_devices", "gauge", "Enrolled devices.", devices as u64),
        (
            "takt_devices_online",
            "gauge",
            "Devices with a session at the gate.",
            state.live.online_count() as u64,
        ),
        ("takt_orders_open", "gauge", "Orders that have not ended.", open as u64),
        (
            "takt_campaigns_open",
            "gauge",
            "Campaigns that have not settled.",
            state.open_campaigns().len() as u64,
        ),
        (
            "takt_messages_refused_total",
            "counter",
            "Messages of devices that were ignored.",
            state.nonsense.count(),
        ),
    ]
    .iter()
    .map(|(name, kind, help, value)| format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"))
    .collect::<Vec<_>>()
    .concat()
}

async fn no_such_path(uri: Uri) -> Refused {
    let path: String = uri.path().chars().take(120).collect();
    Refused::not_found(format!("there is no path {path}"))
}

async fn no_such_method(method: Method, uri: Uri) -> Refused {
    let path: String = uri.path().chars().take(120).collect();
    Refused::method(format!("{path} cannot be asked with {method}"))
}
