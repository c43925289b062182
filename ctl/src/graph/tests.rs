use super::*;

fn edge(text: &str) -> EdgeSpec {
    text.parse::<EdgeArg>().unwrap().0
}

#[test]
fn edges_from_arguments_take_their_options_in_any_order() {
    let plain = edge("camera-1:gateway");
    assert_eq!((plain.source.as_str(), plain.target.as_str()), ("camera-1", "gateway"));
    assert_eq!((plain.requires, plain.weight), (false, None));
    assert!(edge("a:b:requires").requires);
    assert_eq!(edge("a:b:0.25").weight, Some(0.25));
    let both = edge("a:b:0.5:requires");
    assert_eq!((both.requires, both.weight), (true, Some(0.5)));
    assert_eq!(edge("a:b:requires:0.5"), both);
    assert_eq!(edge("a:b:skew=2:requires").skew_max, Some(2));
}

#[test]
fn malformed_edges_are_refused() {
    for text in [
        "",
        "a",
        "a:",
        ":b",
        "a:B",
        "a:b:",
        "a:b:need",
        "a:b:requires:requires",
        "a:b:0.1:0.2",
        "a:b:skew=",
        "a:b:skew=1:skew=1",
    ] {
        assert!(text.parse::<EdgeArg>().is_err(), "{text}");
    }
}

#[test]
fn the_three_forms_of_a_file_give_the_same_graph() {
    let folder = tempfile::tempdir().unwrap();
    let graph = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        graph_of(Some(&path), Vec::new()).unwrap()
    };
    let csv =
        graph("g.csv", "source,target,requests,bytes,requires,weight\n\nb,c,,,true,0.5\na,b,9,,false,\n");
    let json = graph(
        "g.json",
        r#"{"edges":[{"source":"a","target":"b","requests":9},{"source":"b","target":"c","requires":true,"weight":0.5}]}"#,
    );
    let toml = graph(
        "g.toml",
        "[[edges]]\nsource='b'\ntarget='c'\nrequires=true\nweight=0.5\n[[edges]]\nsource='a'\ntarget='b'\nrequests=9.0\n",
    );
    assert_eq!(csv, json);
    assert_eq!(csv, toml);
    assert_eq!(csv.edges[0].weight, Some(1.0));
    assert!(csv.edges[1].requires);
}

fn csv(text: &str) -> Result<Vec<EdgeSpec>, GraphError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("edges.csv");
    std::fs::write(&path, text).unwrap();
    graph_of(Some(&path), Vec::new()).map(|graph| graph.edges)
}

#[test]
fn measured_edges_get_the_weight_of_the_design() {
    let mut edges =
        csv("source,target,requests,bytes,requires\na,b,99,0,false\nb,c,9,999,true\nc,d,,,\nd,e,0,1,\n")
            .unwrap();
    // One of which nothing is known is not the least active one.
    assert_eq!(edges.remove(2).weight, None);
    let weights: Vec<f64> = edges.iter().map(|edge| edge.weight.unwrap()).collect();
    let expected = [0.5, f64::midpoint(10_f64.ln() / 100_f64.ln(), 1.0), 0.5 * 2_f64.ln() / 1_000_f64.ln()];
    for (weight, expected) in weights.iter().zip(expected) {
        assert!((weight - expected).abs() < 1e-12, "{weights:?}");
    }
}

#[test]
fn what_cannot_be_a_graph_is_refused_with_its_place() {
    let header = "source,target,requests,bytes,requires";
    let refused = |line: &str| csv(&format!("{header}\n{line}\n")).unwrap_err();
    for (line, needles) in [
        ("a,b,,,perhaps", ["line 2", "perhaps"]),
        ("a,b,,many,", ["line 2", "many"]),
        ("a,b,,-1,", ["line 2", "bytes"]),
    ] {
        let error = refused(line).to_string();
        assert!(needles.iter().all(|needle| error.contains(needle)), "{line}: {error}");
    }
    assert!(matches!(refused("a,B,,,"), GraphError::Device { .. }));
    assert!(matches!(csv("source,goal\n"), Err(GraphError::Csv(_))));
    assert!(matches!(csv(""), Err(GraphError::Csv(_))));

    let error = |edges: &[&str]| {
        graph_of(None, edges.iter().map(|text| text.parse().unwrap()).collect()).unwrap_err()
    };
    assert!(matches!(error(&["a:a"]), GraphError::Loop { .. }));
    assert!(matches!(error(&["a:b", "a:b:0.5"]), GraphError::Twice { .. }));
    assert!(matches!(error(&["a:b:1.5"]), GraphError::Weight { .. }));
    assert!(matches!(error(&["a:b:NaN"]), GraphError::Weight { .. }));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("graph.toml");
    std::fs::write(&path, "[[edges]]\nsource='a'\ntarget='b'\nbytes=-1.0\n").unwrap();
    assert!(matches!(graph_of(Some(&path), Vec::new()), Err(GraphError::Metric { metric: "bytes", .. })));
}

#[test]
fn an_added_edge_takes_the_place_of_the_one_between_the_same_devices() {
    let graph =
        |edges: &[&str]| graph_of(None, edges.iter().map(|text| text.parse().unwrap()).collect()).unwrap();
    let known = graph(&["a:b:requires", "b:c:0.5:skew=2"]);
    let all = with(known, graph(&["a:b:0.25", "a:c"]));
    assert_eq!(all, graph(&["a:b:0.25", "a:c", "b:c:0.5:skew=2"]));
}
