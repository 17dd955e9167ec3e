%%% @doc What runs that wait for the pool of an environment know of it, and what they are told: by the server of environments, which is asked as long
%%% as any of them waits. See "Environments" in docs/architecture.md.
%%% @private
-module(py_run_environments).

-export([new/0, informed/2, ask/2, heard/3]).
-export_type([known/0, said/0]).

-opaque known() :: #{Pool :: binary() => building | ready}.
-type said() :: building | {ready, Message :: binary()} | {failed, {py, py_error:reason()}}.

-spec new() -> known().
new() -> #{}.

%% @doc The events of a run that begins to wait: it knows what those know that wait for the same. The first of them asks.
-spec informed(py_run_state:run(), known()) -> [py_run_state:event()].
informed(#{spec := #{pool := Pool, environment := _}} = Run, Known) ->
    case Known of
        #{Pool := building} -> event(building, Run);
        #{Pool := ready} -> event({ready, <<>>}, Run);
        #{} -> want(Run), []
    end;
informed(_Run, _Known) ->
    [].

want(#{spec := #{pool := Pool, environment := Environment}}) -> catch py_envs ! {want, self(), Pool, Environment};
want(_Run) -> ok.

%% @doc Ask again, for the first of each pool's: whom they ask may have died, and a pool may have ended.
-spec ask([py_run_state:run()], known()) -> known().
ask(Runs, Known) ->
    lists:foreach(fun want/1, Runs),
    maps:with([Pool || #{spec := #{pool := Pool}} <- Runs], Known).

%% @doc What is said of an environment; `new': what makes of it an event for each run that waits, `old': nothing but that it may be there.
-spec heard(said(), Pool :: binary(), known()) -> {new, fun((py_run_state:run()) -> [py_run_state:event()]), known()} | old.
heard({failed, Error}, Pool, Known) ->
    Event = {refused, term_to_binary(Error), py_run_attempt:text(Error)},
    {new, fun(_) -> [Event] end, maps:remove(Pool, Known)};
heard(Said, Pool, Known) ->
    What = if Said =:= building -> building; true -> ready end,
    case Known of
        #{Pool := What} -> old;
        #{} -> {new, fun(Run) -> event(Said, Run) end, Known#{Pool => What}}
    end.

%% One that was built before is PENDING until it runs, unless there is something to tell.
event(building, #{state := 'PENDING'}) -> [{building, <<>>}];
event({ready, Message}, #{state := 'BUILDING'}) -> [{ready, Message}];
event({ready, Message}, #{state := 'PENDING'}) when Message =/= <<>> -> [{ready, Message}];
event(_Said, _Run) -> [].
