%%% Figures as Prometheus reads them.
-module(py_prometheus_tests).

-include_lib("eunit/include/eunit.hrl").

a_family_says_what_it_is_and_its_samples_test() ->
    ?assertEqual(
        <<
            "# HELP py_workers How many.\n"
            "# TYPE py_workers gauge\n"
            "py_workers{pool=\"default\"} 4\n"
            "py_workers{pool=\"ml\"} 0.5\n"
        >>,
        py_prometheus:text([{<<"py_workers">>, gauge, <<"How many.">>, [{[{<<"pool">>, default}], 4}, {[{<<"pool">>, "ml"}], 0.5}]}])
    ).

without_labels_there_are_no_braces_test() ->
    ?assertNotEqual(nomatch, binary:match(py_prometheus:text([{<<"py_up">>, counter, <<"Up.">>, [{[], 1}]}]), <<"\npy_up 1\n">>)).

what_ends_a_line_or_a_value_is_escaped_test() ->
    Text = py_prometheus:text([{<<"n">>, gauge, <<"a\\b\nc">>, [{[{<<"l">>, <<"\"q\"\\\n{x}">>}], 1}]}]),
    ?assertEqual(<<"# HELP n a\\\\b\\nc\n# TYPE n gauge\nn{l=\"\\\"q\\\"\\\\\\n{x}\"} 1\n">>, Text).

a_value_that_is_no_text_makes_the_text_none_worse_test() ->
    Text = py_prometheus:text([{<<"n">>, gauge, <<"h">>, [{[{<<"l">>, <<255, "x">>}], 1}]}]),
    ?assert(is_list(unicode:characters_to_list(Text))).

a_histogram_has_its_sum_in_seconds_and_all_below_infinity_test() ->
    Text = py_prometheus:text([{<<"t_seconds">>, histogram, <<"h">>, [{[{<<"p">>, a}], {[{16, 1}, {1_048_576, 3}], 2_500_000, 4}}]}]),
    ?assertEqual(
        <<
            "# HELP t_seconds h\n# TYPE t_seconds histogram\n"
            "t_seconds_bucket{p=\"a\",le=\"0.000016\"} 1\n"
            "t_seconds_bucket{p=\"a\",le=\"1.048576\"} 3\n"
            "t_seconds_bucket{p=\"a\",le=\"+Inf\"} 4\n"
            "t_seconds_sum{p=\"a\"} 2.5\n"
            "t_seconds_count{p=\"a\"} 4\n"
        >>,
        Text
    ).
