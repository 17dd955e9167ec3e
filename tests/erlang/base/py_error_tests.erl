%%% The three kinds of failure and what the shell shows of them.
-module(py_error_tests).

-include_lib("eunit/include/eunit.hrl").

text(Reason) -> lists:flatten(unicode:characters_to_list(py_error:text(Reason))).

an_exception_reads_as_python_prints_it_test() ->
    Trace = [{"/srv/b.py", 7, "inner", "1 / 0"}, {"/srv/a.py", 3, "outer", "inner()"}],
    ?assertEqual(
        "Traceback (most recent call last):\n"
        "  File \"/srv/a.py\", line 3, in outer\n"
        "    inner()\n"
        "  File \"/srv/b.py\", line 7, in inner\n"
        "    1 / 0\n"
        "builtins.ZeroDivisionError: division by zero",
        text({python, 'builtins.ZeroDivisionError', "division by zero", Trace})
    ).

an_exception_without_frames_is_one_line_test_() ->
    [
        ?_assertEqual("builtins.KeyError: 'a'", text({python, 'builtins.KeyError', "'a'", []})),
        ?_assertEqual("builtins.StopIteration", text({python, 'builtins.StopIteration', "", []}))
    ].

a_line_without_source_is_left_out_test() ->
    ?assertEqual(
        "Traceback (most recent call last):\n  File \"<string>\", line 1, in f\na.B: c",
        text({python, 'a.B', "c", [{"<string>", 1, "f", ""}]})
    ).

a_cause_stands_before_what_it_led_to_test() ->
    Cause = {cause, 'builtins.KeyError', "'a'", []},
    ?assertEqual(
        "builtins.KeyError: 'a'\n\nThat led to:\n\nbuiltins.ValueError: no a",
        text({python, 'builtins.ValueError', "no a", [Cause]})
    ).

text_beyond_latin1_is_kept_test() ->
    ?assertEqual("builtins.ValueError: Ünïcode ключ 🐍", text({python, 'builtins.ValueError', "Ünïcode ключ 🐍", []})).

what_is_no_error_of_ours_has_no_text_test_() ->
    [?_assertEqual("", text(Other)) || Other <- [badarg, undef, {badmatch, 1}, {python, a}, {python, "a", "b", []}]].

%% {reason, words its text has}.
reasons() ->
    [
        {timeout, ["timeout"]},
        {not_started, ["py:start()"]},
        {session_closed, ["py_session:close/1"]},
        {{session_restarted, {signal, 9, ""}}, ["signal 9 (kill)", "its init runs again", "is lost"]},
        {{too_many_sessions, 7}, ["7 sessions", "max => 7"]},
        {{bad_config, sessions, {bad_option, warm, x, "a number"}}, ["the configuration of sessions: option warm"]},
        {{unknown_pool, ml}, ["ml"]},
        {{unknown_worker, self()}, [pid_to_list(self()), "py:workers()"]},
        {{worker_down, {exit_status, 3, "gone"}}, ["exit status 3", "gone"]},
        {{worker_down, {signal, 9, ""}}, ["signal 9 (kill)"]},
        {{worker_down, {deadline, killed}}, ["deadline"]},
        {{worker_down, {protocol, <<"junk">>}}, ["protocol", "junk"]},
        {{worker_down, stopped}, ["stopped"]},
        {{worker_down, closed}, ["closed"]},
        {{worker_down, restarting}, ["restarted"]},
        {{worker_down, {start, {no_python, path, "python3"}}}, ["python3", "PATH"]},
        {{stale_reference, "it is gone"}, ["it is gone"]},
        {{stale_reference, {'$py.ref', self(), 1, 2}}, ["gone"]},
        {{encode, "can't encode"}, ["can't encode"]},
        {{decode, "can't decode"}, ["can't decode"]},
        {{protocol, unreadable_answer}, ["unreadable_answer"]},
        {{node_down, 'a@b'}, ["a@b"]},
        {{start, ml, {no_python, 'PY_PYTHON', "/no/python"}}, ["ml", "/no/python", "PY_PYTHON"]},
        {{start, ml, {no_python, 'VIRTUAL_ENV', "/no/bin/python"}}, ["/no/bin/python", "VIRTUAL_ENV"]},
        {{start, ml, {no_python, python_option, "/no/python"}}, ["/no/python", "python option"]},
        {{start, ml, {no_python, checkout, "/no/python"}}, ["/no/python", "make setup"]},
        {{start, ml, {open_port, "/no/python", eacces}}, ["/no/python", "eacces"]},
        {{start, ml, {failed, "/bin/false", ""}}, ["/bin/false", "said nothing"]},
        {{start, ml, {failed, "/bin/python", "too old"}}, ["/bin/python", "too old"]},
        {{start, ml, {no_answer, "/bin/cat", 100}}, ["/bin/cat", "100 ms", "start_timeout"]},
        {{start, ml, {on_start, {python, 'builtins.OSError', "no file", []}}}, ["on_start", "builtins.OSError: no file"]},
        {{start, ml, {configure, {python, 'erl.errors.ProtocolError', "version 2", []}}}, ["configuration", "version 2"]},
        {{bad_config, ml, {bad_option, size, 0, "an integer"}}, ["ml", "size", "an integer"]},
        {never_heard_of, ["never_heard_of"]}
    ].

each_reason_of_the_bridge_says_what_was_wrong_test_() ->
    [
        {lists:flatten(io_lib:format("~tp names ~ts", [Reason, Word])),
            ?_assertNotEqual(nomatch, string:find(text({py, Reason}), Word))}
     || {Reason, Words} <- reasons(), Word <- Words
    ].

raising_names_the_api_function_and_its_arguments_test() ->
    Error = {python, 'builtins.ValueError', "text", []},
    try py_error:raise(Error, {func, [a, b, [1]]}) of
        _ -> error(returned)
    catch
        error:Error:Stack ->
            [{py, func, [a, b, [1]], Info} | _] = Stack,
            ?assertMatch(#{module := py_error}, proplists:get_value(error_info, Info))
    end.

badarg_says_which_argument_and_why_test() ->
    try py_error:badarg(3, "must be the list of arguments", {func, [a, b, c]}) of
        _ -> error(returned)
    catch
        error:badarg:Stack ->
            ?assertEqual(#{3 => <<"must be the list of arguments">>}, py_error:format_error(badarg, Stack))
    end.

an_exception_is_explained_under_the_error_test() ->
    Error = {python, 'builtins.ValueError', "text", []},
    Stack = [{py, func, [a], [{error_info, #{module => py_error, cause => #{}}}]}],
    #{general := Text} = py_error:format_error(Error, Stack),
    ?assertEqual(<<"builtins.ValueError: text">>, Text).

%% Elixir puts the explanation behind a binary of its own, and takes nothing but a binary.
explained() ->
    Deep = lists:foldl(fun(N, Trace) -> [{cause, 'a.B', "cause " ++ integer_to_list(N), Trace}] end, [], lists:seq(1, 50)),
    [
        {{python, 'builtins.ZeroDivisionError', "division by zero", []}, <<"builtins.ZeroDivisionError: division by zero">>},
        {{python, 'a.B', "Ünïcode ключ 🐍", []}, <<"a.B: Ünïcode ключ 🐍"/utf8>>},
        {{python, 'a.B', [$a, 16#d800, 16#dfff, 16#110000, -1, x, 1.5], []}, <<"a.B: a", (binary:copy(<<16#fffd/utf8>>, 6))/binary>>},
        %% Halves of surrogate pairs, in a list that has no end.
        {{python, 'a.B', [16#d800 | 16#d800], []}, <<"a.B: ", (binary:copy(<<16#fffd/utf8>>, 2))/binary>>},
        {{python, 'a.Bü', <<"latin1 ", 233>>, []}, <<"a.Bü: latin1 é"/utf8>>},
        {{python, 'a.B', <<"utf8 é"/utf8>>, []}, <<"a.B: utf8 é"/utf8>>},
        {{python, 'a.B', "two\nlines", [{"/b.py", 7, "f", "1 / 0"}]},
            <<"Traceback (most recent call last):\n       File \"/b.py\", line 7, in f\n         1 / 0\n     a.B: two\n     lines">>},
        {{python, 'a.B', "x", [{item, 3}]}, <<"In item 3 of the list:\n     a.B: x">>},
        {{python, 'a.B', "x", [{"/ключ.py", 7, "ф", [16#dcff]}]}, any},
        {{python, 'a.B', "x", [{"/b", a, b, c}]}, any},
        {{python, 'a.B', "x", [a, {}, "b"]}, any},
        {{python, 'a.B', "x", [a | b]}, any},
        {{python, 'a.B', x, Deep}, any},
        {{python, 'a.B', "top", Deep}, any},
        {{python, 'a.B', lists:duplicate(1_000_000, $ж), []}, any},
        {{py, timeout}, <<"the call did not end within its timeout">>},
        {{py, {decode, "text ключ"}}, <<"text ключ"/utf8>>},
        {{py, {encode, [16#d800]}}, <<16#fffd/utf8>>},
        {{py, {worker_down, {exit_status, 3, "last\nwords"}}}, any},
        {{py, {start, ml, {failed, "/bin/python", [255, 16#d801]}}}, any},
        {{py, {stale_reference, {'$py.ref', self(), 1, 2}}}, any},
        {{py, {never_heard_of, <<255>>}}, any},
        {{erlang, error, {badmatch, "ключ"}, []}, any},
        {{erlang, error, badarg, not_a_stack}, none},
        {badarg, none},
        {{badmatch, 1}, none}
    ].

each_explanation_is_a_binary_of_characters_test_() ->
    [
        {lists:flatten(io_lib:format("~tP", [Error, 12])), fun() ->
            Explained = py_error:format_error(Error, [{py, func, [a], [{error_info, #{module => py_error, cause => #{}}}]}]),
            case Expected of
                none -> ?assertEqual(#{}, Explained);
                any -> ?assert(is_list(unicode:characters_to_list(map_get(general, Explained))));
                _ -> ?assertEqual(#{general => Expected}, Explained)
            end,
            [?assert(byte_size(Text) < 100_000) || Text <- maps:values(Explained)]
        end}
     || {Error, Expected} <- explained()
    ].

what_is_wrong_with_an_argument_is_a_binary_test() ->
    Info = [{error_info, #{module => py_error, cause => #{2 => ["must be ", [$a, <<"ü"/utf8>>]], 3 => <<255>>}}}],
    ?assertEqual(
        #{2 => <<"must be aü"/utf8>>, 3 => <<"ÿ"/utf8>>}, py_error:format_error(badarg, [{py, func, [a, b, c], Info}])
    ),
    [
        ?assertEqual(#{}, py_error:format_error(badarg, [{py, func, [a, b, c], Odd}]))
     || Odd <- [[], none, [{error_info, none}], [{error_info, #{}}], [{error_info, #{cause => none}}]]
    ].

%% Whatever is where: who prints an error must not get another one.
every_reason_has_a_text_whatever_is_in_it_test() ->
    Odd = [a, -1, 1.5, "text", <<255>>, [16#d800], [], {}, #{}, [a | b], [[1 | 2]], self(), fun() -> 1 end, "~p~s", [16#110000]],
    Down = [{K, O} || K <- [memory, protocol, flooded, deadline, start], O <- Odd] ++ [{K, O, P} || K <- [exit_status, signal], O <- Odd, P <- Odd],
    Start = [{K, O} || K <- [no_directory, sandbox, configure, import, on_start], O <- Odd] ++
        [{K, O, P} || K <- [no_python, open_port, failed, no_answer], O <- Odd, P <- Odd],
    Ship = [{version, n, O, P} || O <- Odd, P <- Odd] ++ [{not_everywhere, O} || O <- Odd] ++ [{modules, O, O} || O <- Odd],
    Heads = [
        scheduler, unknown_pool, unknown_worker, stale_reference, shared_memory, other_pool, elsewhere, no_shared_memory, encode, decode, nested,
        protocol, too_many_sessions, page, unknown_service, link, unknown_run, unknown_entity, entity_exists, entity, run_state, run, env,
        not_distributed, ship, node_down, already_started, last_worker, too_many_workers, no_directory, no_such_reason
    ],
    Reasons =
        [timeout, overload, not_started, session_closed, interrupted, cancelled | Odd] ++ [{K, O} || K <- Heads, O <- Odd] ++
            [{K, O, P} || K <- [gateway, service, state_dir, start, bad_config], O <- Odd, P <- Odd] ++ [{ship, S} || S <- Ship] ++
            [{K, D} || K <- [worker_down, session_restarted], D <- Down] ++ [{start, p, {start, S}} || S <- Start],
    Frames = [{O, P, "f", O} || O <- Odd, P <- Odd] ++ [{cause, 'a.B', O, P} || O <- Odd, P <- Odd] ++ [{item, O} || O <- Odd] ++ Odd,
    Errors =
        [{py, R} || R <- Reasons] ++ [{python, 'a.B', "t", [F]} || F <- Frames] ++ [{python, O, P, P} || O <- Odd, P <- Odd] ++
            [{erlang, O, P, P} || O <- Odd, P <- Odd] ++ Odd,
    Failed = [Error || Error <- Errors, not is_shown(Error)],
    ?assertEqual([], lists:sublist(Failed, 3)).

is_shown(Error) ->
    is_binary(unicode:characters_to_binary(py_error:text(Error))) andalso
        lists:all(
            fun(Text) -> is_list(unicode:characters_to_list(Text)) end,
            maps:values(py_error:format_error(Error, [{py, func, [a], [{error_info, #{module => py_error, cause => #{1 => <<"x">>}}}]}]))
        ).

a_large_term_in_a_reason_is_cut_test() ->
    Large = lists:seq(1, 10_000),
    [
        ?assert(iolist_size(py_error:text({py, {Kind, {Large, Large}}})) < 1000)
     || Kind <- [unknown_pool, unknown_worker, stale_reference, other_pool, node_down, already_started, last_worker, unknown_run]
    ].

%%% What a stack shows of the arguments

shown(Args) -> shown({python, 'a.B', "x", []}, Args).

shown(Error, Args) ->
    try
        py_error:raise(Error, {func, Args})
    catch
        _:_:Stack ->
            [Shown] = [A || {py, func, A, _} <- Stack],
            Shown
    end.

a_large_argument_is_cut_in_the_stack_test() ->
    Large = binary:copy(<<0>>, 2_097_152),
    ?assertEqual([math, sqrt, [{bytes, <<"... (2097152 bytes)">>}]], shown([math, sqrt, [{bytes, Large}]])),
    ?assertEqual([math, sqrt, [2]], shown([math, sqrt, [2]])),
    Whole = [math, sqrt, [{bytes, Large}], #{show_arguments => all}],
    ?assert(Whole =:= shown(Whole)).

the_application_may_show_none_or_all_test() ->
    Large = binary:copy(<<0>>, 10_000),
    try
        application:set_env(py, show_arguments, none),
        ?assertEqual(3, shown([math, sqrt, [2]])),
        ?assertEqual([math, sqrt, [2], #{show_arguments => cut}], shown([math, sqrt, [2], #{show_arguments => cut}])),
        application:set_env(py, show_arguments, all),
        ?assertEqual([math, sqrt, [Large]], shown([math, sqrt, [Large]])),
        ?assertEqual(4, shown([math, sqrt, [2], #{show_arguments => none}]))
    after
        application:unset_env(py, show_arguments)
    end.

the_stack_of_an_erlang_function_is_cut_too_test() ->
    Large = binary:copy(<<0>>, 10_000),
    Error = {erlang, error, badarg, [{lists, sum, [Large], []}, {m, f, 1, []}]},
    try
        py_error:raise(Error, {func, [a, b]})
    catch
        error:badarg:Cut ->
            ?assertMatch([{lists, sum, [<<"... (10000 bytes)">>], []}, {m, f, 1, []}, {py, func, [a, b], []} | _], Cut)
    end,
    try
        py_error:raise(Error, {func, [a, b, #{show_arguments => none}]})
    catch
        error:badarg:Without -> ?assertMatch([{lists, sum, 1, []}, {m, f, 1, []}, {py, func, 3, []} | _], Without)
    end.

a_stack_without_our_information_is_no_crash_test() ->
    ?assertEqual(#{}, py_error:format_error(badarg, [{py, func, [a], []}])).
