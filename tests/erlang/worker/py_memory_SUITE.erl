%%% Python code that grows until there is no memory left: that call has a MemoryError, whatever it was that grew, and nobody
%%% else notices. Each case in the compiled codec and in the other.
-module(py_memory_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, groups/0, init_per_suite/1, end_per_suite/1]).
-export([init_per_group/2, end_per_group/2, init_per_testcase/2, end_per_testcase/2]).
-export([
    whatever_grows_is_a_memory_error/1,
    arrays_that_grow_are_memory_errors/1,
    growth_is_answered_at_each_limit/1,
    an_exception_that_a_memory_error_led_to_is_told/1,
    growth_while_the_answer_is_made_is_told/1,
    what_is_kept_is_followed_by_a_new_interpreter/1,
    a_session_keeps_its_names/1,
    coroutines_beside_one_that_grows_go_on/1,
    an_iterator_that_grows_gives_what_it_had/1,
    a_message_handler_that_grows_serves_on/1,
    calls_that_wait_for_erlang_go_on/1,
    an_item_that_grows_is_named/1,
    arguments_without_room_are_refused/1,
    a_call_that_grows_longer_than_a_drain_takes_is_told/1,
    a_box_that_grows_is_told/1
]).
%% What Python calls.
-export([grow_in_the_same_worker/1]).

-define(MOST, 150_000_000).
-define(EACH_CASE, [
    whatever_grows_is_a_memory_error,
    arrays_that_grow_are_memory_errors,
    growth_is_answered_at_each_limit,
    an_exception_that_a_memory_error_led_to_is_told,
    growth_while_the_answer_is_made_is_told,
    what_is_kept_is_followed_by_a_new_interpreter,
    a_session_keeps_its_names,
    coroutines_beside_one_that_grows_go_on,
    an_iterator_that_grows_gives_what_it_had,
    a_message_handler_that_grows_serves_on,
    calls_that_wait_for_erlang_go_on,
    an_item_that_grows_is_named,
    arguments_without_room_are_refused
]).

suite() -> [{timetrap, {minutes, 10}}].

all() -> [{group, native}, {group, reference}, {group, once}].

groups() ->
    [
        {native, [], ?EACH_CASE},
        {reference, [], ?EACH_CASE},
        {once, [], [a_call_that_grows_longer_than_a_drain_takes_is_told, a_box_that_grows_is_told]}
    ].

init_per_suite(Config) -> Config.

end_per_suite(_Config) -> ok.

init_per_group(reference, Config) ->
    Data = ?config(data_dir, Config),
    [{paths, [Data, filename:join(Data, "reference")]} | Config];
init_per_group(_Group, Config) ->
    [{paths, [?config(data_dir, Config)]} | Config].

end_per_group(_Group, _Config) -> ok.

init_per_testcase(_Case, Config) ->
    ok = py_application:start([{default, (pool(Config))#{max_memory => ?MOST}}]),
    Config.

end_per_testcase(_Case, _Config) -> py_application:stop_sessions().

%%% Calls

whatever_grows_is_a_memory_error(_Config) ->
    [#{os_pid := OsPid}] = py:workers(),
    [
        begin
            ?assertMatch({error, {python, 'builtins.MemoryError', _, _}}, grow(Function)),
            ?assertEqual(3, py:add(1, 2)),
            ?assertMatch([#{os_pid := OsPid}], py:workers())
        end
     || Function <- [objects, texts, dictionary, text, byte_array, deep, recursion, finalizers, cycles, in_a_thread]
    ],
    %% What is given, too.
    ?assertMatch({error, {python, 'builtins.MemoryError', _, _}}, grow(argument, [lists:seq(1, 1000)])),
    ?assertMatch([#{os_pid := OsPid}], py:workers()).

arrays_that_grow_are_memory_errors(Config) ->
    {ok, _} = py:start_pool(large, (pool(Config))#{max_memory => 500_000_000}),
    Large = #{pool => large},
    case py:func(py_growth, has, [<<"numpy">>], Large) of
        true ->
            ?assertEqual(3, py:func(numpy, add, [1, 2], Large)),
            [#{os_pid := OsPid}] = py:workers(large),
            [
                begin
                    {error, {python, Class, _, _}} = grow(Function, [], Large),
                    ?assertEqual('numpy._core._exceptions._ArrayMemoryError', renamed(Class)),
                    ?assertEqual(3, py:func(operator, add, [1, 2], Large)),
                    ?assertMatch([#{os_pid := OsPid}], py:workers(large))
                end
             || Function <- [array, one_array, array]
            ];
        false ->
            {skip, "no numpy here"}
    end.

renamed('numpy.core._exceptions._ArrayMemoryError') -> 'numpy._core._exceptions._ArrayMemoryError';
renamed(Class) -> Class.

growth_is_answered_at_each_limit(Config) ->
    [
        begin
            {ok, _} = py:start_pool(small, (pool(Config))#{max_memory => Megabytes * 1_000_000}),
            [#{os_pid := OsPid}] = py:workers(small),
            [
                ?assertMatch({error, {python, 'builtins.MemoryError', _, _}}, grow(Function, [], #{pool => small}))
             || Function <- [objects, dictionary, objects, recursion, deep]
            ],
            ?assertEqual(3, py:func(operator, add, [1, 2], #{pool => small})),
            ?assertMatch([#{os_pid := OsPid}], py:workers(small)),
            ok = py:stop_pool(small)
        end
     || Megabytes <- [60, 250, 400]
    ].

an_exception_that_a_memory_error_led_to_is_told(_Config) ->
    [#{os_pid := OsPid}] = py:workers(),
    {error, {python, 'builtins.ValueError', "why", Trace}} = grow(caused),
    ?assertMatch([{_, _, "caused", "raise ValueError(\"why\") from error"} | _], Trace),
    ?assertMatch([{cause, 'builtins.MemoryError', _, [{_, _, "objects", _} | _]}], [Cause || {cause, _, _, _} = Cause <- Trace]),
    {error, {python, _, _, _}} = grow(chained),
    {error, {python, _, _, _}} = grow(grouped),
    ?assertEqual(3, py:add(1, 2)),
    ?assertMatch([#{os_pid := OsPid}], py:workers()).

growth_while_the_answer_is_made_is_told(_Config) ->
    [#{os_pid := OsPid}] = py:workers(),
    ?assertMatch({error, {python, 'builtins.ValueError', _, _}}, grow(shown)),
    ?assertMatch({error, {python, 'builtins.MemoryError', _, _}}, grow(reduced)),
    ?assertMatch({error, {python, 'builtins.MemoryError', _, _}}, grow(large_result, [3_000_000])),
    ?assertEqual(3, py:add(1, 2)),
    ?assertMatch([#{os_pid := OsPid}], py:workers()).

what_is_kept_is_followed_by_a_new_interpreter(_Config) ->
    [#{os_pid := OsPid}] = py:workers(),
    ?assertMatch({error, {python, 'builtins.MemoryError', _, _}}, grow(kept)),
    py_eventually:holds(fun() ->
        ?assertEqual(3, py:add(1, 2)),
        [#{os_pid := Now}] = py:workers(),
        is_integer(Now) andalso Now =/= OsPid
    end).

%%% Other kinds of calls

a_session_keeps_its_names(Config) ->
    Session = py_session:open((maps:with([python_path], pool(Config)))#{persistent => true, max_memory => ?MOST}),
    py_session:eval(Session, "name = 'kept'\nimport py_growth"),
    Failed = fun(Source) ->
        try py_session:eval(Session, Source) of
            Value -> {value, erlang:external_size(Value)}
        catch
            error:Reason -> Reason
        end
    end,
    [
        begin
            ?assertMatch({python, 'builtins.MemoryError', _, _}, Failed(Source)),
            ?assertEqual("kept", py_session:eval(Session, "name"))
        end
     || Source <- [
            "grown = []\nwhile True: grown.append(object())",
            "len(grown) > 1 and py_growth.objects()",
            "grown = py_growth.deep()",
            "await py_growth.later('dictionary')"
        ]
    ],
    %% It may let go of what it has kept.
    ?assertEqual(true, py_session:eval(Session, "len(grown) > 100000")),
    py_session:eval(Session, "del grown"),
    ?assertEqual(1_000_000, py_session:eval(Session, "len([object() for _ in range(1000000)])")),
    py_session:close(Session).

coroutines_beside_one_that_grows_go_on(_Config) ->
    [#{os_pid := OsPid}] = py:workers(),
    Others = [py_caller:start(fun() -> py:func(py_growth, sleep, [3, N]) end) || N <- lists:seq(1, 50)],
    [
        begin
            ?assertMatch({error, {python, 'builtins.MemoryError', _, _}}, grow(Function, [atom_to_binary(What)])),
            ?assertEqual(awake, py:func(py_growth, sleep, [0.01, awake]))
        end
     || Function <- [later, later_in_a_task, later_in_the_executor], What <- [objects, dictionary, deep]
    ],
    ?assertEqual([{ok, N} || N <- lists:seq(1, 50)], py_caller:results(Others)),
    ?assertMatch([#{os_pid := OsPid}], py:workers()).

an_iterator_that_grows_gives_what_it_had(_Config) ->
    [#{os_pid := OsPid}] = py:workers(),
    [
        begin
            Stream = py:stream(py_growth, Function, []),
            Next = fun Next(Seen) ->
                try py:stream_next(Stream) of
                    {ok, Item} -> Next([Item | Seen]);
                    done -> {Seen, done}
                catch
                    error:{python, Class, _, _} -> {Seen, Class}
                end
            end,
            ?assertEqual({[2, 1], 'builtins.MemoryError'}, Next([]))
        end
     || Function <- [items, items_later]
    ],
    ?assertEqual(3, py:add(1, 2)),
    ?assertMatch([#{os_pid := OsPid}], py:workers()).

a_message_handler_that_grows_serves_on(_Config) ->
    [#{os_pid := OsPid}] = py:workers(),
    undefined = py:func(py_growth, set_handler),
    [ok = py:cast(default, grow) || _ <- [1, 2]],
    ?assertEqual(3, py:add(1, 2)),
    ?assertEqual(2, py:func(py_growth, handled)),
    ?assertMatch([#{os_pid := OsPid}], py:workers()).

calls_that_wait_for_erlang_go_on(_Config) ->
    [#{os_pid := OsPid}] = py:workers(),
    ?assertMatch({error, {python, 'builtins.MemoryError', _, _}}, grow(grows_after_a_callback)),
    ?assertEqual(<<"builtins.MemoryError">>, py:func(py_growth, calls_back)),
    ?assertMatch([#{os_pid := OsPid}], py:workers()).

%% Runs while a call of that worker waits for it.
grow_in_the_same_worker(Worker) ->
    {error, {python, Class, _, _}} = grow(objects, [], #{worker => Worker}),
    atom_to_binary(Class).

an_item_that_grows_is_named(_Config) ->
    [#{os_pid := OsPid}] = py:workers(),
    try py:pmap(py_growth, each, lists:seq(1, 100), #{chunk => 100}) of
        _ -> ct:fail(no_error)
    catch
        error:{python, 'builtins.MemoryError', _, Trace} -> ?assertEqual([{item, 50}], [Item || {item, _} = Item <- Trace])
    end,
    ?assertEqual(3, py:add(1, 2)),
    ?assertMatch([#{os_pid := OsPid}], py:workers()).

%% With no room for the frame, for a copy of it, or for the value; of a function that is trusted to be fast or is not known.
arguments_without_room_are_refused(Config) ->
    Large = binary:copy(<<0>>, 120_000_000),
    [
        begin
            {ok, _} = py:start_pool(small, (pool(Config))#{max_memory => Megabytes * 1_000_000}),
            [#{os_pid := OsPid}] = py:workers(small),
            [
                ?assertMatch(
                    {error, {python, 'builtins.MemoryError', _, _}},
                    py_caller:result(py_caller:start(fun() -> size_of(Large) end))
                )
             || _ <- [1, 2]
            ],
            [3 = py:func(py_growth, size, [{bytes, <<"abc">>}], #{pool => small}) || _ <- lists:seq(1, 30)],
            ?assertMatch(
                {error, {python, 'builtins.MemoryError', _, _}},
                py_caller:result(py_caller:start(fun() -> size_of(Large) end))
            ),
            ?assertEqual(3, py:func(operator, add, [1, 2], #{pool => small})),
            ?assertMatch([#{os_pid := OsPid, restarts := 0}], py:workers(small)),
            ok = py:stop_pool(small)
        end
     || Megabytes <- [100, 170, 200, 250]
    ].

size_of(Large) -> py:func(py_growth, size, [{bytes, Large}], #{pool => small, timeout => 200_000}).

%% It is not the worker that is to be replaced before it is known what the call keeps.
a_call_that_grows_longer_than_a_drain_takes_is_told(Config) ->
    {ok, _} = py:start_pool(small, (pool(Config))#{max_memory => ?MOST, drain_timeout => 100}),
    [#{os_pid := OsPid}] = py:workers(small),
    ?assertMatch({error, {python, 'builtins.MemoryError', _, _}}, grow(slowly, [], #{pool => small})),
    ?assertEqual(3, py:func(operator, add, [1, 2], #{pool => small})),
    ?assertMatch([#{os_pid := OsPid}], py:workers(small)),
    ok = py:stop_pool(small).

a_box_that_grows_is_told(Config) ->
    Namespaces = [{args, ["--unshare-user-try", "--unshare-pid", "--ro-bind", "/", "/", "--", "/bin/sh", "-c", "exit 0"]}],
    case os:find_executable("bwrap") of
        false ->
            {skip, "no bwrap on PATH (apt-get install bubblewrap)"};
        Program ->
            case py_program:run(Program, Namespaces, 10_000) of
                {0, _} -> boxed(Config);
                {_, Said} -> {skip, ["bwrap can make no namespaces here: ", Said]}
            end
    end.

boxed(Config) ->
    {ok, _} = py:start_pool(small, (pool(Config))#{sandbox => bwrap, max_memory => ?MOST, start_timeout => 200_000}),
    [#{os_pid := OsPid}] = py:workers(small),
    [
        begin
            ?assertMatch({error, {python, 'builtins.MemoryError', _, _}}, grow(Function, Args, #{pool => small})),
            ?assertEqual(3, py:func(operator, add, [1, 2], #{pool => small})),
            ?assertMatch([#{os_pid := OsPid}], py:workers(small))
        end
     || {Function, Args} <- [
            {objects, []}, {dictionary, []}, {text, []}, {deep, []}, {recursion, []}, {cycles, []}, {later, [<<"objects">>]}
        ]
    ],
    ok = py:stop_pool(small).

%%% What they share

grow(Function) -> grow(Function, []).

grow(Function, Args) -> grow(Function, Args, #{}).

%% Not a large value, where it does not fail.
grow(Function, Args, Options) ->
    try py:func(py_growth, Function, Args, Options#{timeout => 200_000}) of
        Value -> {ok, erlang:external_size(Value)}
    catch
        error:Reason -> {error, Reason}
    end.

pool(Config) -> #{size => 1, python_path => ?config(paths, Config)}.
