%%% @doc Where a call runs: on the node and the worker that its options name, where its references are, or where there is the
%%% least to do.
%%%
%%% All of it is done by the caller's process, which encodes the arguments before it takes a worker, and looks for references in
%%% what it has encoded.
-module(py_route).

-export([perform/4, pick/1, pinned/3]).

%% In the dictionary of a process that keeps to one worker: it and its pool.
-define(PINNED, '$py_worker').

%% @doc A checked call, here or on the node that its options name. Other nodes call this, too.
-spec perform(py_send:entry(), [term()], py_call_options:options(), py_owners:owner()) ->
    {ok, term()} | {error, term()}.
perform(Entry, Args, Options, Owner) ->
    case py_events:is_on() of
        false -> attempt(Entry, Args, Options, Owner);
        true -> observed(Entry, Args, Options, Owner)
    end.

observed(Entry, Args, Options, Owner) ->
    Metadata = #{pool => pool_name(Options), call => Entry, args => Args, options => Options},
    py_events:emit([call, start], #{system_time => erlang:system_time()}, Metadata),
    Start = erlang:monotonic_time(),
    Result = attempt(Entry, Args, Options, Owner),
    Duration = #{duration => erlang:monotonic_time() - Start},
    case Result of
        {ok, _} -> py_events:emit([call, stop], Duration, Metadata);
        {error, Error} -> py_events:emit([call, exception], Duration, Metadata#{error => Error})
    end,
    Result.

attempt(Entry, Args, #{node := Node} = Options, Owner) when Node =/= node() ->
    remote(Node, Entry, Args, Options, Owner);
attempt(Entry, Args, #{worker := Worker} = Options, Owner) when node(Worker) =/= node() ->
    remote(node(Worker), Entry, Args, Options, Owner);
attempt(Entry, Args, #{scope := cluster} = Options, Owner) when not is_map_key(node, Options), not is_map_key(worker, Options) ->
    Name = pool_name(Options),
    case get(?PINNED) of
        {Name, _} ->
            attempt(Entry, Args, Options#{scope := local}, Owner);
        _ ->
            Deadline = py_deadline:after_ms(maps:get(timeout, Options, infinity)),
            anywhere(Entry, Args, maps:remove(scope, Options), Owner, Deadline, [], none)
    end;
attempt(Entry, Args, Options, Owner) ->
    Name = pool_name(Options),
    case py_registry:pool(Name) of
        {ok, #{timeout := Default, mapping := Mapping, flags := Flags} = Pool} ->
            Deadline = py_deadline:after_ms(maps:get(timeout, Options, Default)),
            Body = py_send:body(Entry, Args, Flags, Options),
            case worker(Body, Args, Name, Pool, Options) of
                {ok, Worker} ->
                    case py_send:run(Worker, Body, Deadline, Owner) of
                        moved ->
                            py_events:emit([call, retry], #{}, #{pool => Name}),
                            attempt(Entry, Args, Options#{timeout => py_deadline:left_ms(Deadline)}, Owner);
                        {error, {py, {decode, Text}}} ->
                            {error, {py, {decode, py_haystack:explained(Text, Args, maps:merge(Mapping, Options))}}};
                        {error, {py, {Where, _}}} = Error when Where =:= elsewhere; Where =:= no_shared_memory ->
                            by_value(Entry, Args, Options, Deadline, Owner, Error);
                        Result -> Result
                    end;
                {pool, Other} ->
                    attempt(Entry, Args, Options#{pool => Other}, Owner);
                {remote, Node} ->
                    remote(Node, Entry, Args, Options, Owner);
                {error, Reason} ->
                    {error, {py, Reason}}
            end;
        {error, Reason} ->
            without_pool(Entry, Args, Options, Owner, Reason)
    end.

%% Where the references of a call are in another pool or on another node, it needs none of that name. A call that names a
%% worker may have been sent here because of it, and is not sent back.
without_pool(_Entry, _Args, #{worker := _}, _Owner, Reason) ->
    {error, {py, Reason}};
without_pool(Entry, Args, Options, Owner, Reason) ->
    case py_term:references(Args) of
        [{_, Worker, _, _} | _] when node(Worker) =/= node() ->
            remote(node(Worker), Entry, Args, Options, Owner);
        [{_, Worker, _, _} | _] when not is_map_key(pool, Options) ->
            case py_registry:place(Worker) of
                {ok, {Other, _}} -> attempt(Entry, Args, Options#{pool => Other}, Owner);
                error -> {error, {py, Reason}}
            end;
        _ ->
            {error, {py, Reason}}
    end.

%% The worker can't map what the arguments have in shared memory of another node, or in any: it gets the bytes. Where they have
%% none of that kind, the function has run and failed so itself; where they have some, it has not.
by_value(Entry, Args, Options, Deadline, Owner, {error, {py, {Where, _}}} = Error) ->
    case py_shared:by_value(Where, Args, py_deadline:left_ms(Deadline)) of
        unchanged -> Error;
        {ok, Values} -> attempt(Entry, Values, Options#{timeout => py_deadline:left_ms(Deadline)}, Owner);
        {error, Reason} -> {error, {py, Reason}}
    end.

remote(Node, Entry, Args, Options, Owner) ->
    There = maps:without([node, scope], Options),
    Perform = {?MODULE, perform, [Entry, Args, There, Owner]},
    case py_remote:call(Node, maps:get(pool, Options, default), Perform, maps:get(timeout, Options, infinity)) of
        {ok, Result} -> Result;
        {error, Reason} -> {error, {py, Reason}}
    end.

%% The node with the least to do, and where that does not take the call, the next one. `Before' is why the last did not.
anywhere(Entry, Args, Options, Owner, Deadline, Without, Before) ->
    case py_nodes:pick(pool_name(Options), Without) of
        {ok, Node} ->
            Timed = py_deadline:timed(Options, Deadline),
            case attempt(Entry, Args, Timed#{node => Node}, Owner) of
                {error, {py, Reason}} = Error ->
                    case is_refusal(Reason) of
                        true -> anywhere(Entry, Args, Options, Owner, Deadline, [Node | Without], Reason);
                        false -> Error
                    end;
                Result ->
                    Result
            end;
        %% Known nowhere: what is wrong here says why.
        none when Without =:= [] ->
            attempt(Entry, Args, py_deadline:timed(Options, Deadline), Owner);
        none ->
            {error, {py, Before}}
    end.

%% Nothing was begun.
is_refusal(not_started) -> true;
is_refusal({unknown_pool, _}) -> true;
is_refusal(overload) -> true;
is_refusal(_) -> false.

pool_name(#{pool := Name}) -> Name;
pool_name(#{worker := Worker}) ->
    case py_registry:place(Worker) of
        {ok, {Name, _}} -> Name;
        error -> default
    end;
pool_name(_) -> default.

%%% One worker

%% @doc The worker that calls of this process go to which name no other pool: the one that it keeps to, or any.
-spec pick(py_config:pool_name()) -> {ok, pid()} | {error, term()}.
pick(Name) ->
    case py_registry:pool(Name) of
        {ok, Pool} -> chosen(Name, Pool, #{});
        {error, _} = Error -> Error
    end.

%% @doc Run `Fun' with this process kept to a worker of the pool.
-spec pinned(py_config:pool_name(), pid(), fun(() -> Result)) -> Result.
pinned(Pool, Worker, Fun) ->
    Before = put(?PINNED, {Pool, Worker}),
    try
        Fun()
    after
        case Before of
            undefined -> erase(?PINNED);
            _ -> put(?PINNED, Before)
        end
    end.

%% A call that holds references goes where they are.
worker(Body, Args, Name, Pool, Options) ->
    case py_send:mentions_references(Body) of
        true ->
            case lists:usort([Worker || {_, Worker, _, _} <- py_term:references(Args)]) of
                [] -> chosen(Name, Pool, Options);
                [Worker] -> home(Worker, Args, Name, Options);
                _ -> {error, {stale_reference, "references of several workers can't meet in one call"}}
            end;
        false ->
            chosen(Name, Pool, Options)
    end.

%% First: two nodes would send such a call to each other for ever.
home(Worker, _Args, _Name, #{worker := Other}) when Other =/= Worker ->
    {error, {stale_reference, "the reference belongs to another worker than the call's worker option names"}};
home(Worker, _Args, _Name, _Options) when node(Worker) =/= node() -> {remote, node(Worker)};
%% Where the call names no pool, timeout and mapping are those of the reference's.
home(Worker, Args, Name, Options) ->
    case py_registry:place(Worker) of
        {ok, {Other, _}} when Other =/= Name, not is_map_key(pool, Options) -> {pool, Other};
        {ok, _} -> {ok, Worker};
        error -> {error, {stale_reference, hd(py_term:references(Args))}}
    end.

chosen(_Name, _Pool, #{worker := Worker}) ->
    case py_registry:place(Worker) of
        {ok, _} -> {ok, Worker};
        error -> {error, {unknown_worker, Worker}}
    end;
chosen(Name, Pool, _Options) ->
    case get(?PINNED) of
        {Name, Worker} -> chosen(Name, Pool, #{worker => Worker});
        _ -> py_scheduler:pick(Name, Pool)
    end.
