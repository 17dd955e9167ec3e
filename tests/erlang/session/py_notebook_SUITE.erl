%%% Sessions as a notebook needs them: interrupted by hand, with texts and lines that go by funs, idle ones that end, values as they are shown.
-module(py_notebook_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_suite/1, end_per_suite/1]).
-export([
    what_runs_is_interrupted_and_the_names_stay/1,
    an_interruption_meets_nothing_else/1,
    what_is_written_goes_to_the_fun/1,
    a_line_is_asked_for/1,
    a_session_that_idles_ends/1,
    a_value_is_as_it_is_shown/1,
    a_box_has_all_of_it/1
]).

-define(LONG_MS, 60_000).

suite() -> [{timetrap, {minutes, 2}}].

all() -> [Case || {Case, 1} <- ?MODULE:module_info(exports), not lists:member(Case, [suite, init_per_suite, end_per_suite, module_info])].

init_per_suite(Config) ->
    ok = py_application:start([{default, none}]),
    Config.

end_per_suite(_Config) -> py_application:stop_sessions().

open(Options) -> py_session:open(Options#{persistent => true}).

told(Tag) ->
    Me = self(),
    fun(Text) -> Me ! {Tag, Text} end.

%% What is there.
all_of(Tag) ->
    receive
        {Tag, Text} -> <<Text/binary, (all_of(Tag))/binary>>
    after 0 -> <<>>
    end.

%% Texts come in parts.
await(Tag, Text) -> await(Tag, Text, <<>>).

await(Tag, Text, Before) ->
    case string:find(Before, Text) of
        nomatch ->
            receive
                {Tag, More} -> await(Tag, Text, <<Before/binary, More/binary>>)
            after ?LONG_MS -> ct:fail({no, Text, in, Before})
            end;
        _ ->
            Before
    end.

what_runs_is_interrupted_and_the_names_stay(_Config) ->
    Session = open(#{output => told(out)}),
    undefined = py_session:eval(Session, "import asyncio, time\nkept = 7"),
    [
        begin
            Me = self(),
            _ = spawn_link(fun() -> Me ! {result, catch_error(fun() -> py_session:eval(Session, ["print('begun')\n", Block]) end)} end),
            _ = await(out, <<"begun">>),
            ok = py_session:interrupt(Session),
            receive
                {result, Result} -> ?assertMatch({python, 'builtins.KeyboardInterrupt', _, _}, Result, Block)
            after ?LONG_MS -> ct:fail({not_interrupted, Block})
            end,
            ?assertEqual(7, py_session:eval(Session, "kept"))
        end
     || Block <- ["while True: pass", "time.sleep(600)", "await asyncio.sleep(600)"]
    ],
    %% As in a terminal, it may be caught.
    _ = spawn_link(fun() -> py_session:eval(Session, "try:\n    print('again')\n    time.sleep(600)\nexcept KeyboardInterrupt:\n    print('caught')") end),
    _ = await(out, <<"again">>),
    ok = py_session:interrupt(Session),
    _ = await(out, <<"caught">>),
    ?assertMatch(#{restarts := 0}, py_session:status(Session)),
    py_session:close(Session),
    ?assertError({py, session_closed}, py_session:interrupt(Session)).

an_interruption_meets_nothing_else(_Config) ->
    Session = open(#{}),
    ok = py_session:interrupt(Session),
    [
        begin
            ok = py_session:interrupt(Session),
            ?assertEqual(N, py_session:eval(Session, integer_to_list(N)))
        end
     || N <- lists:seq(1, 20)
    ],
    ?assertMatch(#{restarts := 0}, py_session:status(Session)),
    py_session:close(Session),
    ?assertError(badarg, py_session:interrupt(session)).

what_is_written_goes_to_the_fun(_Config) ->
    Me = self(),
    Session = open(#{output => told(out)}),
    undefined = py_session:eval(Session, "import sys, warnings\nprint('10%\\r20%')\nprint('wrong', file=sys.stderr)\nwarnings.warn('hot')"),
    _ = await(out, <<"hot">>, await(out, <<"wrong">>, await(out, <<"10%\r20%">>))),
    %% All of a block is there before its value, however slow the fun is.
    Slow = open(#{output => fun(Text) -> timer:sleep(20), Me ! {slow, Text} end}),
    ?assertEqual(3, py_session:eval(Slow, "for n in range(10): print(n)\n3")),
    ?assertEqual(<<"0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n">>, all_of(slow)),
    py_session:close(Slow),
    %% A fun that fails loses its text, and nothing else; the next caller's leader is its own.
    Broken = open(#{output => fun(_) -> error(broken) end}),
    ?assertEqual(1, py_session:eval(Broken, "print('lost')\n1")),
    Leader = group_leader(),
    ?assertEqual(2, py_session:eval(Broken, "2")),
    ?assertEqual(Leader, group_leader()),
    [py_session:close(Each) || Each <- [Session, Broken]].

a_line_is_asked_for(_Config) ->
    Me = self(),
    Lines = open(#{input => fun(Prompt) -> Me ! {asked, Prompt}, "zelený\n" end}),
    ?assertEqual("zelený", py_session:eval(Lines, "input('tea? ')")),
    receive {asked, Prompt} -> ?assertEqual(<<"tea? ">>, Prompt) after 0 -> ct:fail(not_asked) end,
    [
        begin
            Session = open(#{input => Fun}),
            ?assertMatch({python, 'builtins.EOFError', _, _}, catch_error(fun() -> py_session:eval(Session, "input()") end)),
            %% The session goes on.
            ?assertEqual(7, py_session:eval(Session, "7")),
            py_session:close(Session)
        end
     || Fun <- [fun(_) -> eof end, fun(_) -> error(broken) end, fun(_) -> [foo] end]
    ],
    py_session:close(Lines).

a_session_that_idles_ends(_Config) ->
    Session = open(#{idle => 3_000}),
    %% It does not idle while it works.
    ?assertEqual(7, py_session:eval(Session, "import time\ntime.sleep(4)\n7")),
    py_eventually:holds(fun() -> maps:get(state, py_session:status(Session)) =:= closed end, ?LONG_MS),
    ?assertError(badarg, py_session:open(#{idle => soon})),
    ?assertError(badarg, py_session:open(#{output => fun() -> ok end})).

a_value_is_as_it_is_shown(_Config) ->
    Session = open(#{strings => list, dicts => tagged}),
    Show = fun(Block) -> py_session:eval(Session, Block, #{return => display}) end,
    ?assertEqual(#{text => <<"'zelený'"/utf8>>}, Show("'zelený'")),
    ?assertEqual(#{}, Show("x = 1")),
    ?assertEqual(#{}, Show("None")),
    ?assertEqual(
        #{text => <<"tea">>, html => <<"<b>tea</b>">>, png => <<137, "PNG">>},
        Show(
            "class Tea:\n    def __repr__(self): return 'tea'\n    def _repr_html_(self): return '<b>tea</b>'\n"
            "    def _repr_png_(self): return b'\\x89PNG', {'width': 1}\n    def _repr_svg_(self): raise ValueError\nTea()"
        )
    ),
    #{text := Text} = Show("class Mute:\n    def __repr__(self): raise ValueError('mute')\nMute()"),
    ?assertEqual(<<"<repr() failed: ValueError: mute>">>, Text),
    ?assertMatch({python, 'builtins.ZeroDivisionError', _, _}, catch_error(fun() -> Show("1 / 0") end)),
    py_session:close(Session),
    ?assertError(badarg, py:func(os, getpid, #{return => display})).

a_box_has_all_of_it(_Config) ->
    Options = #{sandbox => bwrap, control_chars => keep, output => told(out), input => fun(_) -> <<"green">> end},
    try open(Options) of
        Session ->
            ?assertEqual("green", py_session:eval(Session, "import sys\nprint('10%\\r20%', file=sys.stderr)\ntea = input()\ntea")),
            _ = await(out, <<"10%\r20%">>),
            Me = self(),
            _ = spawn_link(fun() -> Me ! {result, catch_error(fun() -> py_session:eval(Session, "print('begun')\nwhile True: pass") end)} end),
            _ = await(out, <<"begun">>),
            ok = py_session:interrupt(Session),
            receive {result, Result} -> ?assertMatch({python, 'builtins.KeyboardInterrupt', _, _}, Result) after ?LONG_MS -> ct:fail(not_interrupted) end,
            ?assertEqual(#{text => <<"'green'">>}, py_session:eval(Session, "tea", #{return => display})),
            %% It calls nothing else.
            ?assertMatch({callback_not_allowed, _}, catch_error(fun() -> py_session:eval(Session, "import erl\nerl.call('erlang', 'node', [])") end)),
            py_session:close(Session)
    catch
        error:{py, _} = Reason -> {skip, lists:flatten(io_lib:format("no boxes of bubblewrap here: ~p", [Reason]))}
    end.

catch_error(Fun) ->
    try Fun() of
        Value -> {no_failure, Value}
    catch
        error:Reason -> Reason
    end.
