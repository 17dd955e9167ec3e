%%% What is made of what a sandboxed Python says.
-module(py_guard_tests).

-include_lib("eunit/include/eunit.hrl").

guard() -> guard(none).

guard(Callbacks) -> py_guard:new(#{sandbox => bwrap, callbacks => Callbacks}).

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
    Budget = fun() -> py_guard:budget(py_config:session_pool(), #{sandbox => bwrap}) end,
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
            {warn, {message, self(), {'$py.told', a}}},
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

%% Frames of more than 16 MiB: what is many terms is refused, what is many bytes is not.
only_what_is_large_on_a_heap_is_unbearable_test_() ->
    Count = 20_000_000,
    Empty = binary:copy(<<106>>, 2 * Count),
    [
        ?_assert(py_guard:is_bearable(term_to_binary(binary:copy(<<"x">>, Count)))),
        ?_assert(py_guard:is_bearable(term_to_binary({r, 1, [binary:copy(<<"x">>, Count), 1.5, 1 bsl 70, #{a => "b"}]}))),
        ?_assert(py_guard:is_bearable(term_to_binary(lists:duplicate(2_500_000, {1, a})))),
        ?_assert(py_guard:is_bearable(term_to_binary([{'$py.ref', self(), 1, 2}, binary:copy(<<"x">>, Count)]))),
        ?_assertNot(py_guard:is_bearable(<<131, 108, (2 * Count):32, Empty/binary, 106>>)),
        %% Claims without the bytes.
        ?_assertNot(py_guard:is_bearable(<<131, 108, 16#ffffffff:32, Empty/binary>>)),
        ?_assertNot(py_guard:is_bearable(<<131, 116, 16#ffffffff:32, Empty/binary>>)),
        ?_assertNot(py_guard:is_bearable(<<131, 0, Empty/binary>>)),
        ?_assertNot(py_guard:is_bearable(<<0, Empty/binary>>))
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
        {erlang, {'$erlport.opaque', erlang, term_to_binary({a, b, []})}}
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
