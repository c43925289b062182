//! measure
#![allow(clippy::unwrap_used)]
mod common;
use common::*;
use std::time::{Duration, Instant};
use takt_workload::Nature;
use takt_agent_core::ContainerName;
fn med(mut v: Vec<f64>) -> String { v.sort_by(f64::total_cmp); format!("median {:.1} min {:.1} max {:.1}", v[v.len()/2], v[0], v[v.len()-1]) }
struct Watcher(std::thread::JoinHandle<f64>, std::sync::Arc<std::sync::atomic::AtomicBool>);
fn watch(port: u16) -> Watcher {
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false)); let s = stop.clone();
    Watcher(std::thread::spawn(move || { let mut last = Instant::now(); let mut max = 0.0f64;
        while !s.load(std::sync::atomic::Ordering::SeqCst) { if get(port, "/counter").is_some() { let n = Instant::now(); max = max.max((n-last).as_secs_f64()*1e3); last = n; } std::thread::sleep(Duration::from_micros(300)); } max }), stop)
}
impl Watcher { fn end(self) -> f64 { std::thread::sleep(Duration::from_millis(60)); self.1.store(true, std::sync::atomic::Ordering::SeqCst); self.0.join().unwrap() } }
async fn swap(d: &Device, n: usize) -> (f64, f64, f64) {
    let old = d.running(&format!("old{n}"), "1.0.0").await;
    let new = d.created(&format!("new{n}"), "2.0.0", Nature::Good).await;
    d.engine.keep_running(&old).await.unwrap();
    std::thread::sleep(Duration::from_millis(150));
    let w = watch(d.port); std::thread::sleep(Duration::from_millis(20));
    let t = Instant::now(); d.engine.stop(&old, Duration::from_secs(5)).await.unwrap(); let a = t.elapsed();
    let _ = (d.engine.state(&old).await, d.engine.state(&new).await);
    let t = Instant::now(); d.engine.start(&new).await.unwrap(); let b = t.elapsed();
    d.until_serving().await;
    let g = w.end(); d.engine.remove(&old).await.unwrap(); d.engine.remove(&new).await.unwrap();
    (a.as_secs_f64()*1e3, b.as_secs_f64()*1e3, g)
}
#[tokio::test]
async fn measure() {
    let (l, p) = (Device::new(), Device::without_latch());
    let c = p.loaded("1.0.0", Nature::Good).await; let id = format!("sha256:{}", c.image_id);
    let mut r: Vec<Vec<f64>> = vec![vec![]; 12];
    for n in 0..9 {
        let (a, b, g) = swap(&l, n).await; r[0].push(a); r[1].push(b); r[2].push(g);
        let (a, b, g) = swap(&p, n).await; r[3].push(a); r[4].push(b); r[5].push(g);
        let name = p.name("cli"); let port = format!("PORT={}", p.port);
        docker(&["run", "-d", "--name", &name.0, "--network", "host", "-e", &port, &id]); p.until_serving().await; std::thread::sleep(Duration::from_millis(150));
        let w = watch(p.port); std::thread::sleep(Duration::from_millis(20));
        let cmd = format!("docker -H unix://{s} rm -f {n} && docker -H unix://{s} run -d --name {n} --network host -e {port} {id}", s = socket().display(), n = name.0);
        assert!(std::process::Command::new("sh").arg("-c").arg(cmd).stdout(std::process::Stdio::null()).status().unwrap().success());
        p.until_serving().await; r[6].push(w.end()); docker(&["rm", "-f", &name.0]);
        let name: ContainerName = l.running(&format!("cp{n}"), "1.0.0").await; std::thread::sleep(Duration::from_millis(100));
        let w = watch(l.port); std::thread::sleep(Duration::from_millis(20));
        let t = Instant::now(); l.engine.checkpoint(&name, "c").await.unwrap(); r[7].push(t.elapsed().as_secs_f64()*1e3);
        let t = Instant::now(); l.engine.restore(&name, "c").await.unwrap(); r[8].push(t.elapsed().as_secs_f64()*1e3);
        l.until_serving().await; r[9].push(w.end());
        l.engine.remove(&name).await.unwrap();
    }
    for (i, t) in ["latch stop","latch start","latch GAP","plain stop","plain start","plain GAP","cli GAP","checkpoint","restore","checkpoint+restore GAP"].iter().enumerate() { println!("{t}: {}", med(r[i].clone())); }
}
