%%% @doc Who wants to know of runs: those that wait for the end of one, and those that are told each change of state.
%%% @private
-module(py_run_listeners).

-export([new/0, wait/4, unwait/3, ended/3, subscribe/3, unsubscribe/2, down/2, tell/3]).
-export_type([listeners/0, what/0]).

-define(SOME, 16).

-record(listeners, {
    waiting = #{} :: #{py_run_state:id() => [{reference(), pid()}]},
    subscribed = #{} :: #{pid() => {reference(), what()}}
}).
-opaque listeners() :: #listeners{}.
-type what() :: all | {run, py_run_state:id()} | {project, binary()}.

-spec new() -> listeners().
new() -> #listeners{}.

%% @doc This process waits; of those that have died meanwhile not many are kept.
-spec wait(py_run_state:id(), reference(), pid(), listeners()) -> listeners().
wait(Id, Alias, Pid, #listeners{waiting = Waiting} = Listeners) ->
    Known = maps:get(Id, Waiting, []),
    Alive = case (length(Known) + 1) rem ?SOME of
        0 -> [Each || {_, Other} = Each <- Known, node(Other) =/= node() orelse is_process_alive(Other)];
        _ -> Known
    end,
    Listeners#listeners{waiting = Waiting#{Id => [{Alias, Pid} | Alive]}}.

-spec unwait(py_run_state:id(), reference(), listeners()) -> listeners().
unwait(Id, Alias, #listeners{waiting = Waiting} = Listeners) ->
    case Waiting of
        #{Id := [{Alias, _}]} -> Listeners#listeners{waiting = maps:remove(Id, Waiting)};
        #{Id := Known} -> Listeners#listeners{waiting = Waiting#{Id := lists:keydelete(Alias, 1, Known)}};
        #{} -> Listeners
    end.

%% @doc The run has ended: who waits is told, `{Alias, {ended, Run}}'.
-spec ended(py_run_state:id(), py_run_state:run(), listeners()) -> listeners().
ended(Id, Run, #listeners{waiting = Waiting} = Listeners) ->
    case maps:take(Id, Waiting) of
        {Known, Left} ->
            lists:foreach(fun({Alias, _}) -> Alias ! {Alias, {ended, Run}} end, Known),
            Listeners#listeners{waiting = Left};
        error ->
            Listeners
    end.

-spec subscribe(pid(), what(), listeners()) -> listeners().
subscribe(Pid, What, Listeners) ->
    #listeners{subscribed = Subscribed} = Fewer = unsubscribe(Pid, Listeners),
    Fewer#listeners{subscribed = Subscribed#{Pid => {monitor(process, Pid), What}}}.

-spec unsubscribe(pid(), listeners()) -> listeners().
unsubscribe(Pid, #listeners{subscribed = Subscribed} = Listeners) ->
    case maps:take(Pid, Subscribed) of
        {{Monitor, _}, Left} ->
            demonitor(Monitor, [flush]),
            Listeners#listeners{subscribed = Left};
        error ->
            Listeners
    end.

-spec down(pid(), listeners()) -> listeners().
down(Pid, #listeners{subscribed = Subscribed} = Listeners) -> Listeners#listeners{subscribed = maps:remove(Pid, Subscribed)}.

%% @doc Tell of each state that a run has come to, in order: `{py_run, Id, State, Message}'.
-spec tell({py_run_state:id(), new} | py_run_state:run(), py_run_state:run(), listeners()) -> ok.
tell(_Before, _Run, #listeners{subscribed = Subscribed}) when map_size(Subscribed) =:= 0 ->
    ok;
tell(Before, #{id := Id, transitions := Now} = Run, #listeners{subscribed = Subscribed}) ->
    Old = case Before of #{transitions := Known} -> Known; _ -> [] end,
    New = lists:reverse(newer(Now, Old)),
    maps:foreach(
        fun(Pid, {_, What}) ->
            is_meant(What, Run) andalso lists:foreach(fun({State, _, Message}) -> Pid ! {py_run, Id, State, Message} end, New)
        end,
        Subscribed
    ).

newer(Now, []) -> Now;
newer(Now, [Newest | _]) -> lists:takewhile(fun(Each) -> Each =/= Newest end, Now).

is_meant(all, _Run) -> true;
is_meant({run, Id}, #{id := Id}) -> true;
is_meant({project, Project}, #{spec := #{project := Project}}) -> true;
is_meant(_, _) -> false.
