%%% What is made of what a sandboxed Python says.
-module(py_guard_tests).

-include_lib("eunit/include/eunit.hrl").

guard() -> guard(none).

guard(Callbacks) -> py_guard:new(#{sandbox => bwrap, callbacks => Callbacks, control_chars => escape}).

judge(Request) -> judge(Request, guard()).

judge(Request, Guard) -> py_guard:request(Request, self(), 0, Guard).

verdict(Request) ->
    case judge(Request) of
        doom -> doom;
        Verdict -> element(1, Verdict)
    end.

a_trusted_python_has_no_guard_test() ->
    ?assertEqual(undefined, py_guard:new(#{sandbox => none, callbacks => all})),
    ?assertEqual(undefined, py_guard:answered(undefined)),
    ?assertEqual(node, py_guard:budget(tea, #{sandbox => none})),
    ?assertEqual({sandbox, tea}, py_guard:budget(tea, #{sandbox => bwrap})).

each_session_has_a_budget_of_its_own_test() ->
    Budget = fun() -> py_guard:budget(py_session_options:pool(), #{sandbox => bwrap}) end,
    ?assertNotEqual(Budget(), Budget()).

requests_test_() ->
    Other = spawn(fun() -> ok end),
    [
        {lists:flatten(io_lib:format("~tP", [Request, 9])), ?_assertEqual(Expected, verdict(Request))}
     || {Expected, Request} <- [
            {do, {print, "tea"}},
            {do, {print, <<"tee, é"/utf8>>}},
            {doom, {print, {not_text}}},
            {doom, {print, [tea]}},
            {doom, {print, [1 bsl 40]}},
            {doom, {print, [$a | $b]}},
            {doom, {print, <<255>>}},
            {do, {message, self(), {'$py.own', 1, [1, 2]}}},
            {doom, {message, self(), {'$py.own', 1, [a]}}},
            {doom, {message, self(), {'$py.own', 1, [1 | 2]}}},
            {doom, {message, self(), {'$py.own', 1, lists:seq(1, 10_001)}}},
            {do, {message, self(), {'$py.later', 1}}},
            {do, {message, self(), {'$py.told', -1}}},
            {do, {message, self(), {'$py.importing', 1}}},
            {do, {message, self(), {'$py.goes_on', 1}}},
            {do, {message, self(), {'$py.dropped', -1}}},
            {warn, {message, self(), {'$py.told', a}}},
            {warn, {message, self(), {'$py.importing', [1]}}},
            {warn, {message, self(), {'$py.dropped', self()}}},
            {warn, {message, self(), {'$py.told', 1 bsl 100}}},
            {warn, {message, self(), {'$py.own', 1 bsl 100, [1]}}},
            {doom, {message, self(), {'$py.own', 1, [1 bsl 100]}}},
            {warn, {message, self(), {'$py.log', {error, "name", "text", "file", 1 bsl 100}}}},
            {doom, {call, 1 bsl 100, lists, sum, [[1]], 'N'}},
            {doom, {call, 1, lists, sum, [1 | 2], 'N'}},
            {do, {message, self(), {'$py.log', {error, "name", "text", "file", 3}}}},
            {doom, {message, self(), {'$py.log', {error, "name", {text}, "file", 3}}}},
            {warn, {message, self(), {'$py.log', {error, "name", "text", "file", line}}}},
            {warn, {message, self(), {'$gen_call', {Other, a}, stop}}},
            {warn, {message, Other, {'$py.own', 1, [1]}}},
            {warn, {message, Other, hello}},
            {warn, {message, init, {stop, stop}}},
            {warn, {message, {init, node()}, {stop, stop}}},
            {do, {call, 1, lists, sum, [[1]], 'N'}},
            {doom, {call, a, lists, sum, [[1]], 'N'}},
            {do, {handler_error, {python, 'builtins.ValueError', "text", []}}},
            {drop, {handler_error, {python, 'builtins.ValueError', "text", [a]}}},
            {drop, {handler_error, oops}},
            {doom, error}
        ]
    ].

what_is_printed_commands_no_terminal_test() ->
    {do, {print, Text}, _} = judge({print, "a\e[2Jb\r\x9bc\td\n"}),
    ?assertEqual(<<"a\\x1b[2Jb\\x0d\\x9bc\td\n">>, Text),
    ?assertEqual(<<"\\x1b]0;tea\\x07">>, py_guard:visible(<<"\e]0;tea\x07">>)),
    %% No UTF-8, or not yet.
    ?assertEqual(<<"é\\x1b"/utf8>>, py_guard:visible(<<233, 27>>)).

%% No context gets past the list: with 'L' the worker process itself would answer.
a_call_runs_in_a_process_of_its_own_test() ->
    ?assertMatch({do, {call, 1, erlang, node, [], 'N'}, _}, judge({call, 1, erlang, node, [], 'L'})).

texts_are_bounded_by_the_second_test() ->
    Print = {print, lists:duplicate(600_000, $x)},
    {do, _, Once} = judge(Print),
    {warn, _, Twice} = judge(Print, Once),
    {drop, Thrice} = judge(Print, Twice),
    ?assertMatch({do, _, _}, py_guard:request(Print, self(), 1_000, Thrice)).

records_are_bounded_by_the_second_test() ->
    Full = lists:foldl(fun(_, Guard) -> element(3, judge({print, "x"}, Guard)) end, guard(), lists:seq(1, 1_000)),
    ?assertMatch({warn, _, _}, judge({print, "x"}, Full)).

open_calls_are_bounded_test() ->
    Call = {call, 1, lists, sum, [[1]], 'N'},
    Full = lists:foldl(fun(_, Guard) -> element(3, judge(Call, Guard)) end, guard([{lists, sum}]), lists:seq(1, 100)),
    ?assertEqual(doom, judge(Call, Full)),
    ?assertMatch({do, _, _}, judge(Call, py_guard:answered(Full))).

refused_calls_are_bounded_test() ->
    Call = {call, 1, erlang, halt, [], 'N'},
    Refuse = fun(_, Guard) -> py_guard:answered(element(3, judge(Call, Guard))) end,
    Full = lists:foldl(Refuse, guard(), lists:seq(1, 10_000)),
    ?assertEqual(doom, judge(Call, Full)).

values_test_() ->
    Ours = self(),
    Other = spawn(fun() -> ok end),
    [
        ?_assertEqual(ok, py_guard:value(Value, Ours))
     || Value <- [
            1, 1.5, a, <<1, 2:3>>, [], "tea", {a, [b | c]}, #{a => #{b => {}}}, {'$py.ref', Ours, 1, 2},
            [{'$py.ref', Ours, 1, 2}], {'$erlport.opaque', python, <<1>>}
        ]
    ] ++
        [
            ?_assertMatch({refused, _}, py_guard:value(Value, Ours))
         || Value <- [
                Ours, Other, make_ref(), fun erlang:halt/0, fun() -> ok end, [a | Ours], {1, {2, Other}}, #{Other => 1},
                #{a => [Other]}, {'$py.ref', Other, 1, 2}, {'$py.ref', a, 1, 2}, {'$py.ref', Ours, a, 2}, {Ours, 1, 2},
                [{'$py.shm', {node(), <<"1-2">>, {0, 8}, bytes}}]
            ]
        ].

a_deep_value_is_looked_through_test_() ->
    Deep = lists:foldl(fun(_, Acc) -> [Acc] end, self(), lists:seq(1, 1_000_000)),
    {timeout, 30, ?_assertMatch({refused, _}, py_guard:value(Deep, self()))}.

%% What is many terms is refused, what is many bytes is not.
only_what_is_large_on_a_heap_is_unbearable_test_() ->
    Count = 40_000_000,
    Empty = binary:copy(<<106>>, 2 * Count),
    [
        ?_assertEqual(plain, py_guard:look(term_to_binary(Term)))
     || Term <- [
            {r, 1, a},
            binary:copy(<<"x">>, Count),
            {r, 1, [binary:copy(<<"x">>, Count), 1.5, 1 bsl 70, #{a => "b"}]},
            lists:duplicate(2_500_000, {1, a})
        ]
    ] ++
        [
            ?_assertEqual(ok, py_guard:look(term_to_binary([{'$py.ref', self(), 1, 2}, binary:copy(<<"x">>, Count)]))),
            ?_assertMatch({refused, _}, py_guard:look(<<131, 108, (2 * Count):32, Empty/binary, 106>>)),
            %% Claims without the bytes.
            ?_assertMatch({refused, _}, py_guard:look(<<131, 108, 16#ffffffff:32, Empty/binary>>)),
            ?_assertMatch({refused, _}, py_guard:look(<<131, 116, 16#ffffffff:32, Empty/binary>>)),
            ?_assertEqual(error, py_guard:look(<<131, 0, Empty/binary>>)),
            ?_assertEqual(error, py_guard:look(<<0, Empty/binary>>)),
            ?_assertEqual(error, py_guard:look(term_to_binary(lists:duplicate(1_000, a), [compressed])))
        ].

%% Each run of a node that a handle names is kept by the emulator for a minute.
handles_of_other_nodes_are_refused_unread_test_() ->
    Pid = fun(Creation) -> <<88, 119, 13, "nobody@nohost", 1:32, 0:32, Creation:32>> end,
    Many = iolist_to_binary([Pid(Creation) || Creation <- lists:seq(1, 100)]),
    Guard = guard([{lists, sum}]),
    Request = fun(Creation) -> <<131, 104, 2, 119, 1, "P", (Pid(Creation))/binary>> end,
    [
        ?_assertEqual({refused, "a sandboxed Python may not answer with a pid"}, py_guard:look(<<131, (Pid(7))/binary>>)),
        ?_assertMatch({refused, _}, py_guard:look(<<131, 104, 100, Many/binary>>)),
        ?_assertMatch({refused, _}, py_guard:look(term_to_binary(fun erlang:halt/0))),
        ?_assertEqual(ok, py_guard:look(term_to_binary([self(), make_ref(), hd(erlang:ports())]))),
        ?_assertEqual({ok, Guard}, py_guard:admit(term_to_binary({'C', 1, lists, sum, [[self()]], 'N'}), Guard)),
        ?_assertMatch({ok, _}, py_guard:admit(Request(1), Guard)),
        ?_assertEqual(error, py_guard:admit(<<131, 104, 100, Many/binary>>, Guard)),
        %% Nor one at a time.
        ?_assertEqual(
            error,
            lists:foldl(
                fun(Creation, {ok, Acc}) -> py_guard:admit(Request(Creation), Acc); (_, error) -> error end,
                {ok, Guard},
                lists:seq(1, 65)
            )
        )
    ].

a_request_is_small_test_() ->
    [
        ?_assertEqual(error, py_guard:admit(Frame, guard()))
     || Frame <- [
            term_to_binary({'P', binary:copy(<<"x">>, 5_000_000)}),
            <<131, 104, 2, 119, 1, "P", 108, 4_190_000:32, (binary:copy(<<104, 0>>, 2_000_000))/binary, 106>>,
            term_to_binary({'P', lists:duplicate(1_000, $x)}, [compressed]),
            <<131, 104, 2, 119, 1, "P">>,
            <<>>
        ]
    ].

failures_test_() ->
    Class = 'builtins.ValueError',
    Good = [
        {python, Class, "text", []},
        {python, Class, "text", [{"file", 1, "f", "source"}, {cause, Class, "text", [{"file", 1, "f", ""}]}, {item, 3}]}
    ],
    Bad = [
        {py, not_started}, badarg, {python, "class", "text", []}, {python, Class, text, []}, {python, Class, "text", [a]},
        {python, Class, "text", [{"file", "1", "f", "s"}]}, {python, Class, "text", [{cause, Class, "text", [a]}]},
        {python, 'red\e[31m', "text", []}, {python, Class, "text", [{cause, 'red\e[31m', "text", []}]},
        {python, Class, "text", [{"file", 1, "f", "s"} | a]}, {erlang, {'$erlport.opaque', erlang, <<1>>}},
        {python, Class, "text", [{"file", 1 bsl 100, "f", "s"}]}, {python, Class, "text", [{item, 1 bsl 100}]},
        {python, Class, [$a | $b], []}, {python, Class, [16#d800], []}, {python, Class, <<255>>, []},
        {erlang, a}, {erlang, {'$erlport.opaque', erlang, "bytes"}}
    ] ++ [
        {erlang, {'$erlport.opaque', erlang, term_to_binary(Inner, Options)}}
     || {Inner, Options} <- [
            {{a, b, []}, []},
            {{error, lists:duplicate(1_000, a), []}, [compressed]},
            {{error, {py, timeout}, []}, []},
            {{exit, {py, {worker_down, stopped}}, []}, []},
            {{error, {python, 'builtins.ValueError', "text", []}, []}, []},
            {{error, self(), []}, []},
            {{error, {tea, [#{a => make_ref()}]}, []}, []},
            {{error, hd(erlang:ports()), []}, []},
            {{error, fun erlang:halt/0, []}, []},
            {{error, tea, [{m, f, [self()], []}]}, []},
            {{error, {'$py.ref', self(), 1, 1}, []}, []},
            {{error, {'$py.shm', {node(), <<"x">>, {0, 1}, bytes}}, []}, []},
            {{error, 'red\e[31m', []}, []},
            {{error, tea, [{m, 'red\e[31m', 1, []}]}, []},
            {{error, 1 bsl 10_000, []}, []}
        ]
    ],
    [?_assertEqual(Error, py_guard:failure(Error, node)) || Error <- Good] ++
        [?_assertEqual({py, {protocol, unreadable_answer}}, py_guard:failure(Error, node)) || Error <- Bad] ++
        %% What the shell shows does not reach a terminal as it came.
        [
            ?_assertEqual(
                {python, Class, "a\\x1bé\n", [{"\\x9b", 1, "\\x07", <<"\\x0d">>}, {cause, Class, "\\x1b", []}]},
                py_guard:failure(
                    {python, Class, "a\eé\n", [{[16#9b], 1, [7], <<"\r">>}, {cause, Class, "\e", []}]}, node
                )
            )
        ] ++
        [
            ?_assertEqual(
                {erlang, throw, tea, [{m, f, 1, []}]},
                py_guard:failure({erlang, {'$erlport.opaque', erlang, term_to_binary({throw, tea, [{m, f, 1, []}, a]})}}, node)
            )
        ].

%% What an Erlang function raised arrives as it was, but for its texts, and without what the shell would run to print it.
what_erlang_raised_is_values_with_harmless_texts_test_() ->
    Raised = fun(Reason, Stack) ->
        {erlang, error, Harmless, Frames} = py_guard:failure(
            {erlang, {'$erlport.opaque', erlang, term_to_binary({error, Reason, Stack})}}, node
        ),
        {Harmless, Frames}
    end,
    Unchanged = {tea, [1, 2, 3], [5, 7, 13], #{a => {1.5, <<"tea, é"/utf8>>, "é\n"}}, <<1:3>>, [a | b], {}, -(1 bsl 1_000)},
    [
        ?_assertEqual({Unchanged, []}, Raised(Unchanged, [])),
        ?_assertEqual(
            {{"a\\x1b[2J", [{<<"\\x9b">>, "\\x07a"}], #{"\\x1b" => [x, "\\x0d" | <<"\\x1b">>]}}, []},
            Raised({"a\e[2J", [{<<16#9b/utf8>>, [7, $a]}], #{"\e" => [x, "\r" | <<"\e">>]}}, [])
        ),
        %% Not hidden behind what no text has, nor in bytes that are none.
        ?_assertEqual({"\\x01\\x1b[2J", []}, Raised([1, 27 | "[2J"], [])),
        ?_assertEqual({<<"ÿ\\x1b[2J"/utf8>>, []}, Raised(<<255, "\e[2J">>, [])),
        ?_assertEqual(
            {tea, [{m, f, 2, [{file, "x\\x1b.erl"}, {line, 3}]}, {m, g, 1, []}]},
            Raised(tea, [
                {m, f, [1, 2], [{file, "x\e.erl"}, {line, 3}, {error_info, #{module => os, function => cmd}}]},
                {m, g, 1, [{line, 1 bsl 100}, {error_info, #{}} | a]},
                {m, g, 1, []}, {m, g, 300, []}, {fun_, 1}, a
            ])
        ),
        ?_assertEqual({tea, []}, Raised(tea, [a | b])),
        ?_assertEqual({tea, []}, Raised(tea, {m, f, 1, []}))
    ].

%% The bytes in an answer are measured with it: three of them as an empty list that takes sixteen.
what_erlang_raised_is_measured_test_() ->
    Bytes = <<131, 104, 3, 119, 5, "error", 108, 20_000_000:32, (binary:copy(<<106>>, 20_000_001))/binary, 106>>,
    [
        {timeout, 60, ?_assertMatch({py, {encode, _}}, py_guard:failure({erlang, {'$erlport.opaque', erlang, Bytes}}, node))},
        {timeout, 60, ?_assertMatch({py, {encode, _}}, py_guard:failure({python, a, lists:duplicate(17_000_000 div 2, $x), []}, node))}
    ].

long_texts_are_cut_test() ->
    {python, a, Text, []} = py_guard:failure({python, a, binary:copy(<<"é"/utf8>>, 1_000_000), []}, node),
    ?assert(byte_size(Text) < 1_100_000),
    ?assertEqual(<<" ..">>, binary:part(Text, byte_size(Text), -3)).

%% Each worker's own stays with the worker, whatever becomes of its process.
a_budget_that_was_drawn_up_is_kept_test() ->
    Config = #{sandbox => bwrap, atoms => py_guard:budget(py_session_options:pool(), #{sandbox => bwrap})},
    ?assertEqual(py_guard:budget(py_session_options:pool(), Config), py_guard:budget(py_session_options:pool(), Config)).
