%%% What a Python that was taken over can do by what it says: a real one, in a box and outside, writes frames that no good Python
%%% sends. The worker process stays, its caller gets a value or an error that says so, and the next call is right.
-module(py_door_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, groups/0, init_per_group/2, end_per_group/2, init_per_testcase/2, end_per_testcase/2]).
-export([
    no_frame_crashes_a_worker/1,
    no_bytes_crash_a_worker/1,
    what_a_start_answers_is_read_with_care/1,
    streams_take_no_other_shape/1,
    chunks_take_no_other_shape/1,
    what_erlang_raised_is_measured/1,
    errors_of_the_bridge_are_not_made_up/1,
    a_session_takes_no_other_shape/1,
    a_budget_of_atoms_outlives_the_worker_process/1,
    what_is_printed_of_its_objects_commands_no_terminal/1,
    a_claim_to_import_excuses_no_death/1
]).

suite() -> [{timetrap, {minutes, 5}}].

all() -> [{group, trusted}, {group, boxed}].

groups() ->
    Both = [no_frame_crashes_a_worker, no_bytes_crash_a_worker, what_a_start_answers_is_read_with_care],
    [
        {trusted, Both},
        {boxed,
            Both ++
                [
                    streams_take_no_other_shape,
                    chunks_take_no_other_shape,
                    what_erlang_raised_is_measured,
                    errors_of_the_bridge_are_not_made_up,
                    a_session_takes_no_other_shape,
                    a_budget_of_atoms_outlives_the_worker_process,
                    what_is_printed_of_its_objects_commands_no_terminal,
                    a_claim_to_import_excuses_no_death
                ]}
    ].

init_per_group(trusted, Config) ->
    [{sandbox, none} | Config];
init_per_group(boxed, Config) ->
    case os:find_executable("bwrap") of
        false ->
            skip("no bwrap on PATH (apt-get install bubblewrap)");
        Program ->
            Args = ["--unshare-user-try", "--unshare-pid", "--ro-bind", "/", "/", "--", "/bin/sh", "-c", "exit 0"],
            case py_program:run(Program, [{args, Args}], 10_000) of
                {0, _} -> [{sandbox, bwrap} | Config];
                {_, Said} -> skip(["bwrap can make no namespaces here: ", Said])
            end
    end.

skip(Reason) ->
    Text = string:trim(lists:flatten(unicode:characters_to_list(iolist_to_binary(Reason)))),
    io:format(user, "~nskipped: ~ts~n", [Text]),
    {skip, Text}.

end_per_group(_, _Config) -> ok.

%% The deaths are logged by the dozen; nobody reads them.
init_per_testcase(_, Config) ->
    ok = py_application:start([{default, #{size => 1, python_path => [?config(data_dir, Config)]}}]),
    #{level := Level} = logger:get_primary_config(),
    ok = logger:set_primary_config(level, none),
    [{level, Level} | Config].

end_per_testcase(_, Config) ->
    ok = logger:set_primary_config(level, ?config(level, Config)),
    py_application:stop().

-define(SIZE, 4).
%% How many of the frames are tried; PY_DOOR_CASES says otherwise.
-define(CASES, 160).
%% A worker process keeps no more than this for a Python that says odd things.
-define(MOST_BYTES, 200_000_000).

options(Config, Options) ->
    Defaults = #{
        size => ?SIZE,
        sandbox => ?config(sandbox, Config),
        callbacks => none,
        python_path => [?config(data_dir, Config)],
        kill_after => 500,
        restart => #{max => 1_000_000, within => 1_000, delay => 1, max_delay => 1}
    },
    maps:merge(Defaults, Options).

start(Config, Options) ->
    {ok, _} = py:start_pool(taken, options(Config, Options)),
    [Worker || #{worker := Worker} <- py:workers(taken)].

say(Frames, Options) -> py:func(py_taken, say, [[{bytes, Frame} || Frame <- Frames]], Options).

%%% Any frame

no_frame_crashes_a_worker(Config) ->
    py_frames:seeded(?FUNCTION_NAME),
    Workers = [Worker | _] = start(Config, #{}),
    Forms = py_frames:odd_forms(Worker),
    Mutated = [
        py_frames:mutated(Frame)
     || Frame <- py_frames:conversations() ++ [term_to_binary(Form) || Form <- py_frames:forms(Worker)]
    ],
    %% Some of each, and all of those that are few.
    Known = [term_to_binary(Form) || Form <- py_frames:known(Worker)],
    Frames = Known ++ some(cases(), [term_to_binary(Form) || Form <- Forms]) ++ some(cases() div 4, Mutated) ++ py_frames:odd_bytes(),
    none_crashes(Frames, Workers, fun protocol/1),
    %% A Python that is trusted sends messages to any process, to this one by chance; they may still be on their way.
    ok = py:stop_pool(taken),
    _ = py_application:messages(),
    ok.

no_bytes_crash_a_worker(Config) ->
    py_frames:seeded(?FUNCTION_NAME),
    Workers = start(Config, #{max_memory => 300_000_000}),
    %% What is no frame: its length is wrong, or its beginning.
    Bytes = [py_frames:any_bytes() || _ <- lists:seq(1, cases() div 8)],
    Write = fun(Data, Worker) ->
        py:func(py_taken, write, [{bytes, Data}], #{worker => Worker, timeout => 1_000})
    end,
    each(Bytes, Workers, Write, fun(Result) -> protocol(Result) orelse Result =:= {error, {py, timeout}} end).

cases() -> list_to_integer(os:getenv("PY_DOOR_CASES", integer_to_list(?CASES))).

some(Count, List) ->
    Shuffled = [Item || {_, Item} <- lists:sort([{rand:uniform(), Item} || Item <- List])],
    lists:sublist(Shuffled, Count).

none_crashes(Frames, Workers, IsRight) ->
    Say = fun(Frame, Worker) -> say([Frame], #{worker => Worker, timeout => 20_000}) end,
    each(Frames, Workers, Say, IsRight).

%% A caller for each worker, which has a share of the cases.
each(Cases, Workers, Do, IsRight) ->
    Peak = watched(Workers),
    Test = self(),
    Callers = [
        spawn_monitor(fun() ->
            [Test ! {tried, Case, tried(Do, Case, Worker)} || {Case, N} <- numbered(Cases), N rem length(Workers) =:= Nth]
        end)
     || {Worker, Nth} <- lists:zip(Workers, lists:seq(0, length(Workers) - 1))
    ],
    [receive {'DOWN', Monitor, process, _, Reason} -> ?assertEqual(normal, Reason) end || {_, Monitor} <- Callers],
    Tried = tried(),
    ?assertEqual(length(Cases), length(Tried)),
    Wrong = [{binary:part(Case, 0, min(300, byte_size(Case))), Result} || {Case, Result} <- Tried, not IsRight(Result)],
    ?assertEqual([], lists:sublist(Wrong, 5)),
    %% The same processes as before.
    ?assertEqual(lists:sort(Workers), lists:sort([Worker || #{worker := Worker} <- py:workers(taken)])),
    [?assertEqual(3, served(Worker)) || Worker <- Workers],
    ?assertEqual(3, py:add(1, 2)),
    ?assert(Peak() < ?MOST_BYTES, Peak()),
    ct:pal("~w frames: ~w", [length(Tried), counted([kind(Result) || {_, Result} <- Tried])]).

numbered(List) -> lists:zip(List, lists:seq(1, length(List))).

tried() ->
    receive
        {tried, Case, Result} -> [{Case, Result} | tried()]
    after 0 -> []
    end.

counted(Kinds) -> maps:to_list(maps:map(fun(_, Some) -> length(Some) end, maps:groups_from_list(fun(Kind) -> Kind end, Kinds))).

tried(Do, Case, Worker) ->
    try
        {ok, Do(Case, Worker)}
    catch
        Class:Reason -> {Class, Reason}
    after
        %% Whatever it was, the next call is served.
        served(Worker)
    end.

%% Where the one before has ended an interpreter, a call may have been sent to it.
served(Worker) -> served(Worker, 100).

served(Worker, Left) ->
    try
        py:func(operator, add, [1, 2], #{worker => Worker, timeout => 20_000})
    catch
        error:{py, {worker_down, Why}} when Left > 0, element(1, Why) =/= start -> served(Worker, Left - 1)
    end.

kind({ok, _}) -> value;
kind({error, {Kind, {Reason, {What, _}}}}) when is_atom(Reason), is_atom(What) -> {Kind, Reason, What};
kind({error, {py, {Reason, _}}}) -> {py, Reason};
kind({error, Error}) when tuple_size(Error) > 0 -> element(1, Error);
kind(Other) -> Other.

%% What a caller may get of an interpreter that says what it likes.
protocol({ok, _}) -> true;
protocol({error, {python, Class, _, _}}) when is_atom(Class) -> true;
protocol({error, {py, {protocol, _}}}) -> true;
protocol({error, {py, {worker_down, {protocol, _}}}}) -> true;
%% A value that is refused.
protocol({error, {py, {encode, Text}}}) -> is_list(Text) orelse is_binary(Text);
%% Of Python's own: the exception is one of `erl.errors'.
protocol({error, {py, {Kind, Text}}}) when Kind =:= decode; Kind =:= shared_memory; Kind =:= stale_reference ->
    is_list(Text) orelse is_binary(Text);
%% An Erlang function that Python called has raised it, for all that anybody knows.
protocol({_, badarg}) -> true;
protocol({_, {tea, _}}) -> true;
protocol({error, {Class, _}}) when Class =/= py, Class =/= python -> true;
%% A trusted Python may send any term as its exception.
protocol({error, Error}) -> not is_tuple(Error) orelse Error =:= {} orelse element(1, Error) =/= py;
protocol(_) -> false.

%% The most that one of them takes, looked at often.
watched(Workers) ->
    Test = self(),
    Watcher = spawn_link(fun() -> watch(Workers, Test, 0) end),
    fun() ->
        Watcher ! {peak, Test},
        receive {Watcher, Peak} -> Peak end
    end.

watch(Workers, Test, Peak) ->
    Now = [Bytes || Worker <- Workers, {memory, Bytes} <- [process_info(Worker, memory)]],
    receive
        {peak, Test} ->
            Test ! {self(), Peak},
            watch(Workers, Test, Peak)
    after 5 -> watch(Workers, Test, lists:max([Peak | Now]))
    end.

%%% Starts

what_a_start_answers_is_read_with_care(Config) ->
    Odd = [
        {r, 16#7a7a7a7a, a}, {e, 16#7a7a7a7a, {python, a, <<255>>, []}}, {e, 16#7a7a7a7a, {python, a, "text", [{a, b, c, <<1>>}]}},
        {e, 16#7a7a7a7a, {python, 'erl.errors.EncodeError', [a | b], []}}, {e, 16#7a7a7a7a, [a | b]}, {e, {python, x, y, [z]}},
        {e, 16#7a7a7a7a, {erlang, {'$erlport.opaque', erlang, term_to_binary({error, {py, timeout}, []})}}}, {r, 1, a},
        {'C', 1, a, b, [c | d], 'L'}
    ],
    [
        begin
            Started = py:start_pool(taken, options(Config, #{size => 1, on_start => {py_taken, start, [[{bytes, term_to_binary(Frame)}]]}})),
            case Started of
                {ok, _} -> ok = py:stop_pool(taken);
                {error, {py, {start, taken, _}} = Error} -> ?assert(is_binary(unicode:characters_to_binary(py_error:text(Error))))
            end
        end
     || Frame <- Odd
    ],
    ?assertEqual(3, py:add(1, 2)).

%%% What reads answers

frame(Term) -> {bytes, term_to_binary({r, 16#7a7a7a7a, Term})}.

shapes() -> [a, {a}, {[1 | 2], false}, {[1], perhaps}, {[], perhaps}, {1, 2, 3}, [], #{}, {true, a, b}, {1 bsl 100, [1]}, {1, [1 | 2]}, {1, a}].

streams_take_no_other_shape(Config) ->
    [_] = start(Config, #{size => 1}),
    [
        begin
            {ok, Stream} = first(fun() -> py:stream(py_taken, items, [[frame(Shape)]], #{pool => taken}) end),
            ?assertMatch({Shape, {error, {py, {protocol, _}}}}, {Shape, caught(fun() -> py:stream_next(Stream) end)}),
            ?assertMatch({Shape, {error, {py, {protocol, _}}}}, {Shape, first(fun() ->
                py:stream(py_taken, iterable, [[frame(Shape)]], #{pool => taken})
            end)})
        end
     || Shape <- shapes(), Shape =/= {[1 | 2], true}
    ].

caught(Fun) ->
    try
        {ok, Fun()}
    catch
        Class:Reason -> {Class, Reason}
    end.

%% The interpreter before it may just be ending.
first(Fun) ->
    case caught(Fun) of
        {error, {py, {worker_down, {protocol, _}}}} -> first(Fun);
        Result -> Result
    end.

chunks_take_no_other_shape(Config) ->
    [_] = start(Config, #{size => 1}),
    [
        ?assertMatch({Shape, {error, {py, {protocol, _}}}}, {Shape, first(fun() ->
            py:pmap(py_taken, item, [[frame(Shape)]], #{pool => taken})
        end)})
     || Shape <- shapes() ++ [{1, []}, {1, [1, 2]}, {-1, [1]}]
    ].

a_session_takes_no_other_shape(Config) ->
    Options = maps:with([sandbox, python_path, restart], options(Config, #{})),
    [
        begin
            Session = py_session:open(Options),
            py_session:define(Session, frames, [frame(Shape)]),
            Result = caught(fun() -> py_session:eval(Session, "__import__('py_taken').say(frames)") end),
            ?assertMatch({Shape, {error, {py, {protocol, _}}}}, {Shape, Result}),
            _ = py_session:status(Session),
            py_session:close(Session)
        end
     || Shape <- [a, {perhaps, 1}, {1, 2, 3}, [], #{}]
    ].

%%% Exceptions

raised(Inner) -> first(fun() -> say([erlang_error(Inner)], #{pool => taken}) end).

erlang_error(Inner) -> term_to_binary({e, 16#7a7a7a7a, {erlang, {'$erlport.opaque', erlang, Inner}}}).

stack_of(Inner) ->
    try
        say([erlang_error(Inner)], #{pool => taken})
    catch
        %% The interpreter before it may just be ending.
        error:{py, {worker_down, {protocol, _}}} -> stack_of(Inner);
        error:tea:Stack -> Stack
    end.

%% A frame of 20 MB would be 320 MB of empty lists.
what_erlang_raised_is_measured(Config) ->
    [_] = start(Config, #{size => 1}),
    Count = 20_000_000,
    Inner = <<131, 104, 3, 119, 5, "error", 108, Count:32, (binary:copy(<<106>>, Count + 1))/binary, 106>>,
    Frame = erlang_error(Inner),
    Caller = spawn_opt(
        fun() -> exit({result, first(fun() -> say([Frame], #{pool => taken}) end)}) end,
        [monitor, {max_heap_size, #{size => 10_000_000, kill => true}}]
    ),
    {_, Monitor} = Caller,
    receive
        {'DOWN', Monitor, process, _, Reason} -> ?assertMatch({result, {error, {py, {encode, _}}}}, Reason)
    end.

errors_of_the_bridge_are_not_made_up(Config) ->
    [_] = start(Config, #{size => 1}),
    Raised = fun(Term) -> raised(term_to_binary(Term)) end,
    [
        ?assertEqual({Reason, {error, {py, {protocol, unreadable_answer}}}}, {Reason, Raised({Class, Reason, []})})
     || Class <- [error, exit, throw],
        Reason <- [{py, timeout}, {py, {worker_down, stopped}}, self(), [make_ref()], #{a => fun erlang:halt/0},
            {python, 'builtins.ValueError', "text", []}]
    ],
    ?assertEqual({error, {tea, ["a\\x1b[31m", <<"\\x1b]0;">>, #{"k\\x9b" => 1}]}},
        Raised({error, {tea, ["a\e[31m", <<"\e]0;">>, #{[$k, 16#9b] => 1}]}, []})),
    %% What the shell would run to print it is not there.
    Info = [{error_info, #{module => os, function => cmd}}, {line, 7}],
    Inner = term_to_binary({error, tea, [{m, f, ["/bin/sh"], Info}]}),
    ?assertMatch([{m, f, 1, [{line, 7}]} | _], stack_of(Inner)).

%%% Atoms

a_budget_of_atoms_outlives_the_worker_process(Config) ->
    Session = py_session:open((maps:with([sandbox, python_path], options(Config, #{})))#{persistent => true}),
    #{session := Most} = py_config:max_sandbox_atoms(),
    Prefix = integer_to_list(erlang:unique_integer([positive])),
    Make = fun(Name, Count) ->
        caught(fun() ->
            py_session:eval(Session, io_lib:format("import erl~n[erl.Atom('py_door_~s_~s_%d' % n) for n in range(~w)]", [Prefix, Name, Count]))
        end)
    end,
    {ok, Atoms} = Make("a", Most - 20),
    ?assertEqual(Most - 20, length(Atoms)),
    #{worker := Worker} = py_session:status(Session),
    exit(Worker, kill),
    py_eventually:holds(fun() ->
        #{worker := Now} = py_session:status(Session),
        Now =/= Worker andalso Now =/= undefined andalso element(1, caught(fun() -> py_session:eval(Session, "1") end)) =:= ok
    end),
    ?assertMatch({error, {py, {encode, _}}}, Make("b", 100)),
    py_session:close(Session).

%%% What is printed

what_is_printed_of_its_objects_commands_no_terminal(Config) ->
    [_] = start(Config, #{size => 1}),
    Red = py:func(py_taken, red, [], #{pool => taken, return => ref}),
    Leader = py_output:start(),
    Before = group_leader(),
    group_leader(Leader, self()),
    try
        ok = py:prepr(Red)
    after
        group_leader(Before, self())
    end,
    py_eventually:equals("\\x1b[31mred\n", fun() -> py_output:text(Leader) end),
    py_output:stop(Leader),
    ok = py:release(Red).

%% That of a good Python does not count towards the worker's restarts.
a_claim_to_import_excuses_no_death(Config) ->
    [Worker] = start(Config, #{size => 1, start_timeout => 3_000, restart => #{max => 0, within => 60_000, delay => 60_000}}),
    Frame = term_to_binary({'M', Worker, {'$py.importing', 16#7a7a7a7a}}),
    ?assertEqual({error, {py, timeout}}, caught(fun() ->
        py:func(py_taken, stay, [[{bytes, Frame}]], #{pool => taken, timeout => 300})
    end)),
    py_eventually:equals([degraded], fun() -> [State || #{state := State} <- py:workers(taken)] end),
    ?assertEqual(3, py:add(1, 2)).
