%%% Work of a soak run that strains an interpreter from inside: handlers and finalizers that enter anywhere, much output, callbacks
%%% that nest, growth up to the limit of memory, imports that a deadline meets, boxes that flood.
%%%
%%% Two pools beside the ordinary ones: `bounded' has a limit of memory, which its calls meet; `boxed' is in a sandbox, where there
%%% is a program that makes one. The chaos leaves both alone.
-module(py_soak_strain).

-export([pools/2, kinds/0, work/2, is_known/2]).
%% Called from Python.
-export([slow/2]).

-define(TIMEOUT_MS, 10_000).
-define(BOUND_BYTES, 200_000_000).
-define(PACKAGES, 12).

pools(Python, Directory) ->
    Pool = #{python => Python, python_path => [Directory], log_level => warning, size => 1},
    Restart = #{max => 1_000_000, within => 1_000, delay => 20, max_delay => 1_000},
    Boxed = [
        {boxed, Pool#{sandbox => bwrap, max_memory => ?BOUND_BYTES, restart => Restart}}
     || os:find_executable("bwrap") =/= false
    ],
    [{bounded, Pool#{max_memory => ?BOUND_BYTES}} | Boxed].

kinds() -> [{entered, 4}, {chatter, 2}, {back, 3}, {grow, 1}, {import, 2}, {box, 2}, {flood, 1}].

%% `Options' are those of an ordinary call of the moment: its pool and a timeout.
work(entered, Options) ->
    Size = 1_000 + rand:uniform(300_000),
    Args = [Size, 0.0005 + rand:uniform() / 100, <<"plac">>],
    py_soak_load:expect(entered, erlang:crc32(binary:copy(<<7>>, Size)), longer(Options), fun(O) ->
        erlang:crc32(py:func(soak_strain, entered, Args, O))
    end);
work(chatter, Options) ->
    Lines = 1_000 * rand:uniform(20),
    py_soak_load:expect(chatter, Lines, longer(Options), fun(O) -> py:func(soak_strain, chatter, [Lines], O) end);
work(back, #{pool := Pool}) ->
    %% Many at once, on one worker.
    Number = rand:uniform(1_000_000),
    Many = lists:seq(Number, Number + 20 + rand:uniform(80)),
    case py_registry:workers(Pool) of
        [] ->
            ok;
        Workers ->
            {_, Worker} = lists:nth(rand:uniform(length(Workers)), Workers),
            Right = [{ok, N} || N <- Many],
            py_soak_load:expect(back, Right, Pool, #{timeout => ?TIMEOUT_MS}, fun(_) ->
                Call = [[N, rand:uniform(20)] || N <- Many],
                Handles = py:scatter(soak_strain, back, Call, #{worker => Worker, timeout => ?TIMEOUT_MS}),
                first_error(py:gather_all(Handles))
            end)
    end;
work(grow, _) ->
    %% One after another: they take a second each, and what waits has a deadline.
    case catch register(?MODULE, self()) of
        true ->
            grow(),
            unregister(?MODULE);
        _ ->
            ok
    end;
work(import, #{pool := Pool} = Options) ->
    Name = iolist_to_binary(["soak_package_", integer_to_list(rand:uniform(?PACKAGES))]),
    Args = [py_soak_book:packages_path(), Name, 0.2],
    case py_registry:workers(Pool) of
        [] ->
            ok;
        Workers ->
            {_, Worker} = lists:nth(rand:uniform(length(Workers)), Workers),
            Pinned = (maps:remove(pool, Options))#{worker => Worker},
            _ = catch py:func(soak_strain, package, Args, Pinned#{timeout => 20 + rand:uniform(200)}),
            py_soak_load:expect(import, 42, Pool, Pinned#{timeout => ?TIMEOUT_MS}, fun(O) ->
                py:func(soak_strain, package, Args, O)
            end),
            _ = catch py:func(soak_strain, forget, [Name], Pinned#{timeout => ?TIMEOUT_MS})
    end;
work(box, _) ->
    with_box(fun(Options) ->
        X = rand:uniform(1_000_000),
        py_soak_load:expect(box, X + 1, Options, fun(O) -> py:func(operator, add, [X, 1], O) end)
    end);
work(flood, _) ->
    with_box(fun(Options) ->
        Data = flood(rand:uniform(4)),
        _ = catch py:func(soak_strain, flood, [{bytes, Data}, 20_000], Options),
        py_soak_book:count(flood, done)
    end).

grow() ->
    Options = #{pool => bounded, timeout => 6 * ?TIMEOUT_MS},
    py_soak_load:expect(grow, {raised, 'builtins.MemoryError'}, Options, fun(O) ->
        try
            py:func(soak_strain, grow, [], O)
        catch
            error:{python, Class, _, _} -> {raised, Class}
        end
    end).

with_box(Fun) ->
    lists:member(boxed, py_registry:pools()) andalso Fun(#{pool => boxed, timeout => ?TIMEOUT_MS}).

%% The errors that fit these pools.
is_known(bounded, Reason) -> Reason =:= timeout;
is_known(boxed, timeout) -> true;
is_known(boxed, {protocol, _}) -> true;
is_known(boxed, {worker_down, Why}) -> is_known_end(Why).

is_known_end({Kind, _}) -> lists:member(Kind, [protocol, memory, deadline, flooded, start]);
is_known_end({signal, 9, _}) -> true;
is_known_end(Why) -> lists:member(Why, [closed, recycled, restarting]).

%% Frames: texts, records, messages for nobody, answers that nobody asked for.
flood(1) -> framed({'P', "flood\n"});
flood(2) -> framed({'P', binary:copy(<<"x">>, 4_000)});
flood(3) -> framed({'M', py_soak_nobody, flood});
flood(4) -> framed({r, 16#7ffffff0, flood}).

framed(Term) ->
    Bytes = term_to_binary(Term),
    <<(byte_size(Bytes)):32, Bytes/binary>>.

longer(Options) -> Options#{timeout => ?TIMEOUT_MS}.

%% As a call would have raised it: so that it is judged as one.
first_error(Answers) ->
    case [Error || {error, {py, _} = Error} <- Answers] of
        [Error | _] -> error(Error);
        [] -> Answers
    end.

slow(Number, PauseMs) ->
    receive after PauseMs -> Number end.
