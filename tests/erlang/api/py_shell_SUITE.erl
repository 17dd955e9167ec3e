%%% What a shell of `make' shows first, and `py:help/0,1'.
-module(py_shell_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, end_per_testcase/2]).
-export([
    the_banner_stands_before_the_first_prompt_of_a_terminal/1,
    who_wants_no_colours_gets_none/1,
    without_a_terminal_py_starts_and_nothing_is_printed/1,
    a_start_that_fails_is_told_with_what_to_do/1,
    the_banner_is_no_part_of_a_node_that_starts_py/1,
    each_topic_has_what_runs_and_what_exists/1,
    a_function_is_shown_with_its_docs/1,
    a_name_that_is_none_is_answered_with_those_near_it/1
]).

suite() -> [{timetrap, {minutes, 5}}].

all() -> [Case || {Case, 1} <- ?MODULE:module_info(exports), not lists:member(Case, [suite, module_info])].

end_per_testcase(_, _Config) ->
    application:unset_env(py, state_dir),
    py_application:stop().

%%% The banner

the_banner_stands_before_the_first_prompt_of_a_terminal(Config) ->
    Shown = first_screen([{"TERM", "xterm"}, {"NO_COLOR", false}], Config),
    {match, _} = re:run(Shown, "\e\\[1mpy [0-9.]+\e\\[0m on Erlang/OTP [0-9]+, Python 3\\.[0-9.]+\\S* \\(.*\\), codec (native|reference)\r?\n"
        "pool default: [0-9]+ workers?\r?\n  py:func\\(math, sqrt, \\[2\\]\\)\\..*  py:help\\(\\)\\..*leaves\r?\n.*1> ", [dotall]).

who_wants_no_colours_gets_none(Config) ->
    Shown = first_screen([{"TERM", "xterm"}, {"NO_COLOR", "1"}], Config),
    {match, _} = re:run(Shown, "\npy [0-9.]+ on Erlang/OTP").

first_screen(Environment, Config) ->
    Program = filename:join(?config(data_dir, Config), "first_screen.py"),
    Port = open_port({spawn_executable, python()}, [
        {args, [Program, os:find_executable("erl") | shell()]}, {env, Environment}, binary, exit_status, use_stdio, hide
    ]),
    {0, Shown} = output(Port, <<>>),
    Shown.

without_a_terminal_py_starts_and_nothing_is_printed(_Config) ->
    Typed = "py:func(math, sqrt, [16]). init:stop().",
    Port = open_port({spawn_executable, "/bin/sh"}, [
        {args, ["-c", "echo '" ++ Typed ++ "' | \"$@\"", "sh", os:find_executable("erl") | shell()]}, binary, exit_status, stderr_to_stdout
    ]),
    {0, Shown} = output(Port, <<>>),
    ?assertNotEqual(nomatch, string:find(Shown, "4.0")),
    ?assertEqual(nomatch, string:find(Shown, "py:help")).

a_start_that_fails_is_told_with_what_to_do(_Config) ->
    Told = unicode:characters_to_list(py_shell:text(erlang, {plain, {failed, "no interpreter"}})),
    ?assertEqual(0, string:str(Told, "\e")),
    ?assertMatch("py did not start: no interpreter\n  py:doctor()." ++ _, Told),
    ?assertNotEqual(nomatch, string:find(py_shell:text(lfe, {plain, {failed, ""}}), "(py:doctor)")),
    ?assertNotEqual(nomatch, string:find(py_shell:text(elixir, {coloured, {failed, ""}}), "\e[1m")).

the_banner_is_no_part_of_a_node_that_starts_py(_Config) ->
    Eval = "{ok, _} = py:start(), io:format(\"loaded: ~w~n\", [[code:is_loaded(M) || M <- [py_shell, py_help]]]), init:stop().",
    Port = open_port({spawn_executable, os:find_executable("erl")}, [
        {args, ["-noshell", "-pa", ebin(), "-eval", Eval]}, binary, exit_status, stderr_to_stdout
    ]),
    ?assertEqual({0, <<"loaded: [false,false]\n">>}, output(Port, <<>>)).

%%% Help

each_topic_has_what_runs_and_what_exists(Config) ->
    application:load(py),
    application:set_env(py, state_dir, filename:join(?config(priv_dir, Config), "state")),
    ok = py_application:start([{default, #{size => 2}}]),
    ?assertEqual([], [calls, pools, sessions, streams, arrays, clusters, functions, services] -- py_help:topics()),
    [
        begin
            _ = lists:foldl(fun entered/2, erl_eval:new_bindings(), py_help:typed(Topic)),
            ?assertEqual([], [Each || {Module, Name} = Each <- py_help:names(Topic), not exported(Module, Name)]),
            Page = printed(fun() -> py:help(Topic) end),
            {match, [Doc]} = re:run(Page, "All of it: (docs/[a-z-]+\\.md)", [{capture, all_but_first, list}]),
            ?assert(filelib:is_file(filename:join(py_checkout:root(), Doc)), Doc)
        end
     || Topic <- py_help:topics()
    ],
    Topics = printed(fun() -> py:help() end),
    ?assertEqual([], [Topic || Topic <- py_help:topics(), string:find(Topics, atom_to_list(Topic)) =:= nomatch]).

%% What a page has one type gives a value. (A `catch' of a call that fails is one.)
entered(Line, Bindings) ->
    {ok, Tokens, _} = erl_scan:string(Line),
    {ok, Expressions} = erl_parse:parse_exprs(Tokens),
    {value, _, After} = erl_eval:exprs(Expressions, Bindings),
    After.

exported(Module, Name) ->
    {module, Module} = code:ensure_loaded(Module),
    lists:keymember(Name, 1, Module:module_info(exports)).

a_function_is_shown_with_its_docs(_Config) ->
    Pmap = printed(fun() -> py:help(pmap) end),
    ?assertNotEqual(nomatch, string:find(Pmap, "The function of each item of a list"), Pmap),
    ?assertEqual(nomatch, string:find(Pmap, "\e"), Pmap),
    Open = printed(fun() -> py:help(open) end),
    ?assertNotEqual(nomatch, string:find(Open, "session"), Open),
    Abs = printed(fun() -> py:help(abs) end),
    ?assertNotEqual(nomatch, string:find(Abs, "py:help(<<\"abs\">>)"), Abs),
    Module = printed(fun() -> py:help(py_session) end),
    ?assertNotEqual(nomatch, string:find(Module, "namespace"), Module).

a_name_that_is_none_is_answered_with_those_near_it(_Config) ->
    [
        begin
            Said = printed(fun() -> py:help(Name) end),
            ?assertNotEqual(nomatch, string:find(Said, "There is no topic, function or module"), {Name, Said}),
            ?assertNotEqual(nomatch, string:find(Said, Near), {Name, Said})
        end
     || {Name, Near} <- [{poools, "pools"}, {pmpa, "pmap"}, {session, "sessions"}, {'stream-next', "stream_next"}, {zzzzzzzzz, "Topics: calls"}, {'', "Topics:"}, {'é', "Topics:"}]
    ].

printed(Fun) ->
    {ok, Leader} = py_output:of_call(Fun),
    Text = py_output:text(Leader),
    py_output:stop(Leader),
    Text.

%%% Programs

shell() -> ["-pa", ebin(), "-stdlib", "shell_prompt_func", "{py_shell,prompt}"].

ebin() -> filename:dirname(filename:absname(code:where_is_file("py.app"))).

python() ->
    {ok, Pool} = py_pool_options:check(#{}),
    {ok, _, Python} = py_launcher:find(Pool),
    Python.

output(Port, Shown) ->
    receive
        {Port, {data, Data}} -> output(Port, <<Shown/binary, Data/binary>>);
        {Port, {exit_status, Status}} -> {Status, Shown}
    after 60_000 -> ct:fail({no_end, Shown})
    end.
