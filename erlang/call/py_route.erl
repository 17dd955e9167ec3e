%%% @doc Where a call runs: on the node and the worker that its options name, where its references are, or where there is the
%%% least to do.
%%%
%%% There are two doors. {@link perform/4} takes terms: the caller's process encodes the arguments before it takes a worker, looks for
%%% references in what it has encoded, and decodes the result. {@link send/3} takes what somebody else has encoded, and gives back the
%%% frame of the answer as it came: nothing is decoded here. Both have the same retry of what was not begun (with the same bytes), the
%%% same deadline and the same choice of nodes. Whoever must not wait uses {@link py_pending}.
%%%
%%% What bytes alone can't do comes back as an error, and whoever has the terms encodes again: `{other_pool, Name}', where the
%%% references are in a pool of another mapping; `{elsewhere, _}' and `{no_shared_memory, _}', where the worker can't map what is in shared
%%% memory: if the arguments have some of that kind the function has not run, else it has met it itself.
%%% `docs/architecture.md' has who owns what, and who may die when.
%%% @private
-module(py_route).

-export([perform/4, observed/3, mended/6, send/3, encoded/3, is_free/1, local/1, pick/1, pinned/3]).
-export_type([route/0, answer/0]).

-type route() :: #{
    pool => py_config:pool_name(),
    worker => pid(),
    node => node(),
    scope => local | cluster,
    timeout => timeout(),
    refs => [Worker :: pid()],
    most_open => pos_integer()
}.
%% `most_open': so many tasks of the pool's dispatcher may be open with this one; one more is `overload'.
%% Where an encoded call goes, in the words of a call's options. `refs' are the workers of the references in its arguments.
-type answer() :: {frame, binary(), py_send:trust()} | {error, {py, py_error:reason()}}.
-type work() :: {terms, py_send:entry(), [term()]} | {bytes, py_wire:body()}.

%% In the dictionary of a process that keeps to one worker: it and its pool.
-define(PINNED, '$py_worker').

%% @doc A checked call, here or on the node that its options name. Other nodes call this, too.
-spec perform(py_send:entry(), [term()], py_call_options:options(), py_owners:owner()) ->
    {ok, term()} | {error, term()}.
perform(Entry, Args, #{retry := Policy} = Options, Owner) ->
    Once = maps:remove(retry, Options),
    repeated(Entry, Args, Once, Owner, py_deadline:after_ms(timeout(Once)), {Policy, 0});
perform(Entry, Args, Options, Owner) ->
    case py_trace:is_idle() andalso not py_events:is_on() of
        true -> attempt({terms, Entry, Args}, Options, Owner);
        false -> seen(Entry, Args, Options, Owner)
    end.

%% Somebody looks on.
seen(Entry, Args, Options, Owner) ->
    Span = py_trace:begun(Entry, Args),
    {Carrying, All} = py_trace:carried(Span, Entry, Args),
    Work = {terms, Carrying, All},
    Result =
        case py_events:is_on() of
            false ->
                attempt(Work, Options, Owner);
            true ->
                Over = observed(Entry, Args, Options),
                Ended = attempt(Work, Options, Owner),
                Over(Ended),
                Ended
        end,
    py_trace:ended(Span, Result),
    Result.

%% The deadline is that of all attempts: where a pause leaves nothing of it, the last failure is the result.
repeated(Entry, Args, Options, Owner, Deadline, {Policy, Before}) ->
    case perform(Entry, Args, py_deadline:timed(Options, Deadline), Owner) of
        {error, Error} = Failed ->
            case py_retry:again(Error, Before, Policy) of
                {again, Ms} ->
                    case py_deadline:left_ms(Deadline) of
                        Left when Ms < Left ->
                            receive after Ms -> ok end,
                            repeated(Entry, Args, Options, Owner, Deadline, {Policy, Before + 1});
                        _ ->
                            Failed
                    end;
                give_up ->
                    Failed
            end;
        Result ->
            Result
    end.

%% What a call has where nothing is said, of pools that are here.
timeout(#{timeout := Timeout}) ->
    Timeout;
timeout(Options) ->
    case is_local(Options) andalso py_registry:pool(pool_name(Options)) of
        {ok, #{timeout := Timeout}} -> Timeout;
        _ -> infinity
    end.

%% @doc Tell those who listen that a call begins; to be told its result.
-spec observed(py_send:entry(), [term()], py_call_options:options()) -> fun(({ok, term()} | {error, term()}) -> ok).
observed(Entry, Args, Options) ->
    Metadata = #{pool => pool_name(Options), call => Entry, args => Args, options => Options},
    py_events:emit([call, start], #{system_time => erlang:system_time()}, Metadata),
    Start = erlang:monotonic_time(),
    _ = py_events:times(),
    fun(Result) ->
        {Times, Worker} = py_events:times(),
        Measured = Times#{duration => erlang:monotonic_time() - Start},
        Known = maps:merge(Metadata, Worker),
        case Result of
            {ok, _} -> py_events:emit([call, stop], Measured, Known);
            {error, Error} -> py_events:emit([call, exception], Measured, Known#{error => Error})
        end
    end.

%% @doc An encoded call: the answer's frame, and whether a sandboxed Python wrote it (`box': to be read with this budget of atoms, as
%% `py_send' does). It ends with the calling process, and with `Owner', whose the references in the result are; an owner's keeper looks
%% after that itself. Other nodes call this, too.
-spec send(py_wire:body(), route(), py_owners:owner()) -> answer().
send(Body, Route, Owner) -> attempt({bytes, Body}, Route, Owner).

-spec attempt(work(), py_call_options:options() | route(), py_owners:owner()) -> {ok, term()} | {error, term()} | answer().
attempt(Work, #{node := Node} = Options, Owner) when Node =/= node() ->
    remote(Node, Work, Options, Owner);
attempt(Work, #{worker := Worker} = Options, Owner) when node(Worker) =/= node() ->
    remote(node(Worker), Work, Options, Owner);
attempt(Work, #{scope := cluster} = Options, Owner) when not is_map_key(node, Options), not is_map_key(worker, Options) ->
    Name = pool_name(Options),
    case get(?PINNED) of
        {Name, _} ->
            attempt(Work, Options#{scope := local}, Owner);
        _ ->
            Deadline = py_deadline:after_ms(maps:get(timeout, Options, infinity)),
            anywhere(Work, maps:remove(scope, Options), Owner, Deadline, [], none)
    end;
attempt({terms, Entry, Args}, Options, Owner) ->
    terms(Entry, Args, Options, Owner);
attempt({bytes, Body}, Route, Owner) ->
    bytes(Body, Route, Owner).

%%% Terms

terms(Entry, Args, Options, Owner) ->
    Name = pool_name(Options),
    case py_registry:pool(Name) of
        {ok, #{timeout := Default, flags := Flags} = Pool} ->
            Deadline = py_deadline:after_ms(maps:get(timeout, Options, Default)),
            Body = py_send:body(Entry, Args, Flags, Options),
            case exchanged(Body, homes(Body, Args), {Name, Pool}, Options, Deadline, {Owner, none}) of
                {frame, Frame, Trust, Worker} ->
                    case py_send:read(Frame, Trust, Worker) of
                        {error, {py, {Kind, _}}} = Error when Kind =:= decode; Kind =:= elsewhere; Kind =:= no_shared_memory ->
                            mended(Error, Entry, Args, Options, Deadline, Owner);
                        Result ->
                            Result
                    end;
                {pool, Other} ->
                    terms(Entry, Args, Options#{pool => Other}, Owner);
                {remote, Node} ->
                    remote(Node, {terms, Entry, Args}, Options, Owner);
                gone ->
                    {error, {py, {stale_reference, hd(py_term:references(Args))}}};
                {no_pool, Reason} ->
                    without_pool({terms, Entry, Args}, py_deadline:timed(Options, Deadline), Owner, Reason);
                {error, _} = Error ->
                    Error
            end;
        {error, Reason} ->
            without_pool({terms, Entry, Args}, Options, Owner, Reason)
    end.

homes(Body, Args) ->
    case py_send:mentions_references(Body) of
        true -> lists:usort([Worker || {_, Worker, _, _} <- py_term:references(Args)]);
        false -> []
    end.

%% @doc What becomes of a call that has failed in a way that its arguments have to do with: its result, or its error, explained.
%% `elsewhere', `no_shared_memory': the worker can't map what the arguments have in shared memory of another node, or in any: it gets
%% the bytes. Where they have none of that kind, the function has run and failed so itself; where they have some, it has not.
-spec mended({error, term()}, py_send:entry(), [term()], py_call_options:options(), py_deadline:deadline(), py_owners:owner()) ->
    {ok, term()} | {error, term()}.
mended({error, {py, {Where, _}}} = Error, Entry, Args, Options, Deadline, Owner) when
    Where =:= elsewhere; Where =:= no_shared_memory
->
    case py_shared:by_value(Where, Args, py_deadline:left_ms(Deadline)) of
        unchanged -> Error;
        {ok, Values} -> terms(Entry, Values, Options#{timeout => py_deadline:left_ms(Deadline)}, Owner);
        {error, Reason} -> {error, {py, Reason}}
    end;
mended({error, {py, {decode, Text}}}, _Entry, Args, Options, _Deadline, _Owner) ->
    {error, {py, {decode, py_haystack:explained(Text, Args, maps:merge(mapping(Options), Options))}}};
mended(Error, _Entry, _Args, _Options, _Deadline, _Owner) ->
    Error.

mapping(Options) ->
    case py_registry:pool(pool_name(Options)) of
        {ok, #{mapping := Mapping}} -> Mapping;
        {error, _} -> #{}
    end.

%% @doc A call as the bytes that {@link perform/4} would send; `terms' where it is more than one call of this node's: what names
%% another node, holds references, or may be repeated.
-spec encoded(py_send:entry(), [term()], py_call_options:options()) -> {ok, py_wire:body(), route()} | terms.
encoded(Entry, Args, Options) ->
    case is_local(Options) andalso py_registry:pool(pool_name(Options)) of
        {ok, #{flags := Flags}} ->
            Body = py_send:body(Entry, Args, Flags, Options),
            case py_send:mentions_references(Body) of
                false -> {ok, Body, maps:with([pool, worker, timeout], Options)};
                true -> terms
            end;
        _ ->
            terms
    end.

is_local(#{retry := _}) -> false;
is_local(#{node := Node}) when Node =/= node() -> false;
is_local(#{worker := Worker}) -> node(Worker) =:= node();
is_local(Options) -> maps:get(scope, Options, local) =:= local.

%%% Bytes

bytes(Body, Route, Owner) ->
    Name = pool_name(Route),
    case py_registry:pool(Name) of
        {ok, #{timeout := Default} = Pool} ->
            Deadline = py_deadline:after_ms(maps:get(timeout, Route, Default)),
            Watched = watched(Owner),
            Exchanged = exchanged(Body, homes(Route), {Name, Pool}, Route, Deadline, {Owner, Watched}),
            Watched =:= none orelse demonitor(Watched, [flush]),
            case Exchanged of
                {frame, Frame, Trust, Worker} -> py_send:seen(Frame, Trust, Worker);
                {remote, Node} -> remote(Node, {bytes, Body}, Route, Owner);
                {no_pool, Reason} -> without_pool({bytes, Body}, py_deadline:timed(Route, Deadline), Owner, Reason);
                Failed -> refused(Failed)
            end;
        {error, Reason} ->
            without_pool({bytes, Body}, Route, Owner, Reason)
    end.

homes(Route) -> lists:usort(maps:get(refs, Route, [])).

%% @doc Whether any worker of a pool of this node may run an encoded call.
-spec is_free(route()) -> boolean().
is_free(#{worker := _}) -> false;
is_free(Route) -> homes(Route) =:= [] andalso is_local(Route).

%% Whoever asks for an owner that keeps nothing itself.
watched(Owner) when is_pid(Owner), Owner =/= self() -> monitor(process, Owner);
watched(_Owner) -> none.

refused({pool, Other}) -> {error, {py, {other_pool, Other}}};
refused(gone) -> {error, {py, {stale_reference, "the worker of a reference is gone"}}};
refused({error, _} = Error) -> Error.

%% @doc The worker of this node that an encoded call goes to, chosen now, and the timeout of its pool; `free': another one may have it
%% as well. `remote': {@link send/3} will find another node.
-spec local(route()) -> {py_worker:kind(), pid(), timeout()} | remote | {error, {py, py_error:reason()}}.
local(Route) ->
    Name = is_local(Route) andalso pool_name(Route),
    case Name =/= false andalso py_registry:pool(Name) of
        {ok, #{timeout := Timeout} = Pool} ->
            case place(homes(Route), Name, Pool, Route) of
                {Kind, Worker} when Kind =:= free; Kind =:= bound -> {Kind, Worker, Timeout};
                {remote, _} -> remote;
                Failed -> refused(Failed)
            end;
        {error, Reason} when not is_map_key(refs, Route) ->
            {error, {py, Reason}};
        _ ->
            remote
    end.

%%% Both

%% The same bytes go to another worker where one has not begun them.
exchanged(Body, Homes, {Name, Pool}, Options, Deadline, {Owner, Watched} = For) ->
    case place(Homes, Name, Pool, Options) of
        {Kind, Worker} when Kind =:= free; Kind =:= bound ->
            case py_send:exchange(Kind, Worker, Body, Deadline, Owner, Watched) of
                moved ->
                    py_events:emit([call, retry], #{}, #{pool => Name}),
                    case py_registry:pool(Name) of
                        {ok, Present} -> exchanged(Body, Homes, {Name, by_load(Present)}, Options, Deadline, For);
                        {error, Reason} -> {no_pool, Reason}
                    end;
                Answer ->
                    Answer
            end;
        Failed ->
            Failed
    end.

%% What comes back has been let go of for a worker that idles: no scheduler by lot or in turns knows of that.
by_load(#{scheduler := Scheduler} = Pool) when Scheduler =:= random; Scheduler =:= round_robin -> Pool#{scheduler := least_busy};
by_load(Pool) -> Pool.

%% Where the references of a call are in another pool or on another node, it needs none of that name. A call that names a
%% worker may have been sent here because of it, and is not sent back.
without_pool(_Work, #{worker := _}, _Owner, Reason) ->
    {error, {py, Reason}};
without_pool(Work, Options, Owner, Reason) ->
    case homes_of(Work, Options) of
        [Worker | _] when node(Worker) =/= node() ->
            remote(node(Worker), Work, Options, Owner);
        [Worker | _] when not is_map_key(pool, Options) ->
            case {py_registry:place(Worker), Work} of
                {{ok, {Other, _}}, {terms, _, _}} -> attempt(Work, Options#{pool => Other}, Owner);
                {{ok, {Other, _}}, {bytes, _}} -> refused({pool, Other});
                {error, _} -> {error, {py, Reason}}
            end;
        _ ->
            {error, {py, Reason}}
    end.

homes_of({terms, _, Args}, _Options) -> [Worker || {_, Worker, _, _} <- py_term:references(Args)];
homes_of({bytes, _}, Route) -> homes(Route).

remote(Node, Work, Options, Owner) ->
    There = maps:without([node, scope], Options),
    Function =
        case Work of
            {terms, Entry, Args} -> {?MODULE, perform, [Entry, Args, There, Owner]};
            {bytes, Body} -> {?MODULE, send, [Body, There, Owner]}
        end,
    Name = maps:get(pool, Options, default),
    case py_remote:call(Node, Name, Function, maps:get(timeout, Options, infinity)) of
        %% That budget can be spent there only: what is decoded here is this node's to count.
        {ok, {frame, Frame, {box, {session, _}}}} -> {frame, Frame, {box, {sandbox, Name}}};
        {ok, Result} -> Result;
        {error, Reason} -> {error, {py, Reason}}
    end.

%% The node with the least to do, and where that does not take the call, the next one. `Before' is why the last did not.
anywhere(Work, Options, Owner, Deadline, Without, Before) ->
    case py_nodes:pick(pool_name(Options), Without) of
        {ok, Node} ->
            Timed = py_deadline:timed(Options, Deadline),
            case attempt(Work, Timed#{node => Node}, Owner) of
                {error, {py, Reason}} = Error ->
                    case is_refusal(Reason) of
                        true -> anywhere(Work, Options, Owner, Deadline, [Node | Without], Reason);
                        false -> Error
                    end;
                Result ->
                    Result
            end;
        %% Known nowhere: what is wrong here says why.
        none when Without =:= [] ->
            attempt(Work, py_deadline:timed(Options, Deadline), Owner);
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
        {ok, Pool} ->
            case chosen(Name, Pool, #{}) of
                {Kind, Worker} when Kind =:= free; Kind =:= bound -> {ok, Worker};
                {error, {py, Reason}} -> {error, Reason}
            end;
        {error, _} = Error ->
            Error
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
place([], Name, Pool, Options) -> chosen(Name, Pool, Options);
place([Worker], Name, _Pool, Options) -> home(Worker, Name, Options);
place(_, _, _, _) -> {error, {py, {stale_reference, "references of several workers can't meet in one call"}}}.

%% First: two nodes would send such a call to each other for ever.
home(Worker, _Name, #{worker := Other}) when Other =/= Worker ->
    {error, {py, {stale_reference, "the reference belongs to another worker than the call's worker option names"}}};
home(Worker, _Name, _Options) when node(Worker) =/= node() -> {remote, node(Worker)};
%% Where the call names no pool, timeout and mapping are those of the reference's.
home(Worker, Name, Options) ->
    case py_registry:place(Worker) of
        {ok, {Other, _}} when Other =/= Name, not is_map_key(pool, Options) -> {pool, Other};
        {ok, _} -> {bound, Worker};
        error -> gone
    end.

chosen(_Name, _Pool, #{worker := Worker}) ->
    case py_registry:place(Worker) of
        {ok, _} -> {bound, Worker};
        error -> {error, {py, {unknown_worker, Worker}}}
    end;
chosen(Name, Pool, _Options) ->
    case get(?PINNED) of
        {Name, Worker} ->
            chosen(Name, Pool, #{worker => Worker});
        _ ->
            case py_scheduler:pick(Name, Pool) of
                {ok, Worker} -> {free, Worker};
                {error, Reason} -> {error, {py, Reason}}
            end
    end.
