%%% The chaos of a soak run: every 50 to 500 ms something is broken, or something is asked for that an operator may ask.
%%%
%%% What is asked for is asked by a process of its own, which must get an answer of the known ones in time.
-module(py_soak_chaos).

-export([start/2, stop/1]).

-define(OPERATION_MS, 60_000).
-define(POOLS, [default, small]).

start(Seed, Keeper) ->
    spawn_link(fun() ->
        rand:seed(exsss, {Seed, 0, 0}),
        chaos(Keeper)
    end).

stop(Chaos) ->
    Chaos ! {stop, self()},
    receive {Chaos, stopped} -> ok end.

chaos(Keeper) ->
    receive
        {stop, From} -> From ! {self(), stopped}
    after 50 + rand:uniform(450) ->
        Deed = deed(),
        %% The first choice may find nobody to do it to.
        _ = do(Deed, Keeper) =:= none orelse py_soak_book:count(chaos, Deed),
        chaos(Keeper)
    end.

deed() ->
    Deeds = [kill_python, kill_python, freeze, freeze_for_good, kill_caller, kill_caller, kill_worker, junk, junk, resize, restart_worker,
        recycle_all, add_worker, remove_worker, message],
    lists:nth(rand:uniform(length(Deeds)), Deeds).

do(kill_python, _) ->
    with_python(fun(OsPid) -> signal("KILL", OsPid) end);
do(freeze, _) ->
    with_python(fun(OsPid) ->
        signal("STOP", OsPid),
        Pause = rand:uniform(1_000),
        spawn(fun() ->
            receive after Pause -> signal("CONT", OsPid) end
        end)
    end);
do(freeze_for_good, _) ->
    with_python(fun(OsPid) -> signal("STOP", OsPid) end);
do(kill_caller, Keeper) ->
    Callers = py_soak_load:callers(Keeper),
    exit(lists:nth(rand:uniform(length(Callers)), Callers), kill);
do(kill_worker, _) ->
    with_worker(fun(_, Worker) -> exit(Worker, kill) end);
do(message, _) ->
    with_worker(fun(_, Worker) -> Worker ! {junk, make_ref()} end);
do(junk, _) ->
    Junk = junk(rand:uniform(7)),
    with_worker(fun(_, Worker) ->
        spawn(fun() -> catch py:func(soak_work, write_junk, [{bytes, Junk}], #{worker => Worker, timeout => 2_000}) end)
    end);
do(resize, _) ->
    Pool = pool(),
    Size = rand:uniform(4),
    operation(resize, fun() -> py:resize(Pool, Size) end);
do(add_worker, _) ->
    Pool = pool(),
    length(py_registry:workers(Pool)) < 5 andalso operation(add_worker, fun() -> py:add_worker(Pool) end);
do(remove_worker, _) ->
    with_worker(fun(_, Worker) -> operation(remove_worker, fun() -> py:remove_worker(Worker) end) end);
do(restart_worker, _) ->
    with_worker(fun(_, Worker) -> operation(restart_worker, fun() -> py:restart_worker(Worker) end) end);
do(recycle_all, _) ->
    [operation(restart_worker, fun() -> py:restart_worker(Worker) end) || {_, Worker} <- py_registry:workers(pool())].

pool() -> lists:nth(rand:uniform(length(?POOLS)), ?POOLS).

with_worker(Fun) ->
    Pool = pool(),
    case py_registry:workers(Pool) of
        [] ->
            none;
        Workers ->
            {_, Worker} = lists:nth(rand:uniform(length(Workers)), Workers),
            Fun(Pool, Worker)
    end.

with_python(Fun) ->
    with_worker(fun(_, Worker) ->
        case py_worker:info(Worker) of
            {ok, #{os_pid := OsPid}} when is_integer(OsPid), OsPid > 0 -> Fun(OsPid);
            _ -> none
        end
    end).

signal(Name, OsPid) -> os:cmd("kill -" ++ Name ++ " " ++ integer_to_list(OsPid) ++ " 2>&1").

junk(1) -> rand:bytes(rand:uniform(64));
%% A frame of no term.
junk(2) -> framed([131, rand:bytes(rand:uniform(64))]);
%% An answer to a call that nobody has made.
junk(3) -> framed(term_to_binary({r, 16#7ffffff0, wrong}));
%% A frame that does not end.
junk(4) -> <<16#7fffffff:32, 131, 104>>;
%% A message of the right kind and the wrong shape.
junk(5) -> framed(term_to_binary({'C', 1, not_a_call}));
%% A text that is none.
junk(6) -> framed(term_to_binary({'P', {no, text}}));
%% A message for nobody.
junk(7) -> framed(term_to_binary({'M', nobody, {'$py.own', 1, [1]}})).

framed(Body) -> iolist_to_binary([<<(iolist_size(Body)):32>>, Body]).

%% What an operator asks for ends, and in a way that is documented.
operation(Name, Fun) ->
    spawn(fun() ->
        py_soak_book:opened(Name, ?OPERATION_MS),
        Answer =
            try
                Fun()
            catch
                Class:Raised -> {Class, Raised}
            end,
        py_soak_book:closed(),
        case Answer of
            ok -> py_soak_book:count(Name, ok);
            {ok, _} -> py_soak_book:count(Name, ok);
            {error, {py, Reason}} -> refused(Name, Reason);
            _ -> py_soak_book:violation({operation, Name, Answer})
        end
    end).

refused(Name, Reason) ->
    py_soak_book:count(Name, case Reason of {Kind, _} -> Kind; {Kind, _, _} -> Kind; Kind -> Kind end),
    case Reason of
        {last_worker, _} -> ok;
        {start, _, _} -> ok;
        _ -> py_soak_load:is_known(default, Reason) orelse py_soak_book:violation({operation, Name, Reason})
    end.
