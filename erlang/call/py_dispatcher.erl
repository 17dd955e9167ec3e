%%% @doc Tasks that a process has open and does not wait for, where many processes share the workers of a pool: as {@link py_pending}, but a
%%% task that any worker of its pool may run waits in the pool's dispatcher, beside those of others, and the clients are served in turn.
%%% Tasks that name a worker, hold references, or are another node's, go there at once, as with `py_pending'.
%%%
%%% The value belongs to the process that made it, which gives it each message that is not its own:
%%%
%%% ```
%%%   {ok, Tasks1} = py_dispatcher:send(Key, Body, Route, Owner, Tasks),
%%%   receive
%%%       Message ->
%%%           case py_dispatcher:message(Message, Tasks1) of
%%%               {answer, Key, Answer, Tasks2} -> ...             the task is over
%%%               {dropped | begun, Key, Tasks2} -> ...            what `drop/2' has come to; begun: its answer is still to come
%%%               {wait, Tasks2} -> ...                            it was about one of them
%%%               unknown -> ...                                   it was not, or comes too late: to be dropped
%%%           end
%%%   end
%%% '''
%%%
%%% Messages to the process have the form `{Reference, _}', `{'DOWN', ..}' or `{timeout, _, {_, ..}}'. Each task is answered once, by its
%%% deadline. A process whose peer does not read calls {@link hold/1}: nothing more of what it has sent is begun until {@link go_on/1},
%%% so that no more answers come than workers have in hand. What a task prints goes to the group leader of the process that has sent it; it comes from
%%% another process than the answer, so a process that wants it before the answer keeps its messages on its heap (the default), where
%%% they stand in the order in which they were sent.
%%%
%%% "The dispatcher" in docs/architecture.md has the messages, and who may die when.
%%% @private
-module(py_dispatcher).

-export([new/0, send/5, queue/4, flush/1, message/2, cancel/2, drop/2, hold/1, go_on/1, size/1, is_open/2, close/1]).
-export_type([tasks/0]).

-record(task, {
    dispatcher :: pid(),
    id :: reference(),
    body :: py_wire:body(),
    route :: py_route:route(),
    owner :: py_owners:owner(),
    deadline :: py_deadline:deadline(),
    %% The monitor of an owner that is not this process.
    watched = none :: none | reference()
}).
-record(tasks, {
    pending = py_pending:new() :: py_pending:pending(),
    open = #{} :: #{Key :: term() => #task{} | pending},
    %% Whose an id or a monitor is.
    keys = #{} :: #{reference() => Key :: term()},
    dispatchers = #{} :: #{pid() => Monitor :: reference()},
    %% For one dispatcher, last first, and not told to it yet.
    untold = none :: none | {pid(), Most :: pos_integer() | infinity, [py_dispatcher_server:several(), ...]},
    held = false :: boolean()
}).
-opaque tasks() :: #tasks{}.

-spec new() -> tasks().
new() -> #tasks{}.

%% @doc How many are open.
-spec size(tasks()) -> non_neg_integer().
size(#tasks{open = Open}) -> map_size(Open).

-spec is_open(Key :: term(), tasks()) -> boolean().
is_open(Key, #tasks{open = Open}) -> is_map_key(Key, Open).

%% @doc Send a task under a key that none of the open ones has. Its timeout begins now.
-spec send(Key :: term(), py_wire:body(), py_route:route(), py_owners:owner(), tasks()) ->
    {ok, tasks()} | {error, {py, py_error:reason()}}.
send(Key, Body, Route, Owner, #tasks{open = Open, pending = Pending} = Tasks) ->
    case py_route:is_free(Route) of
        true ->
            case new_task(Body, Route, Owner) of
                {ok, Task} -> {ok, queued(Key, Task, Tasks)};
                {error, _} = Error -> Error
            end;
        false ->
            case py_pending:send(Key, Body, Route, Owner, Pending) of
                {ok, Sent} -> {ok, Tasks#tasks{pending = Sent, open = Open#{Key => pending}}};
                {error, _} = Error -> Error
            end
    end.

new_task(Body, Route, Owner) ->
    case py_dispatcher_server:find(maps:get(pool, Route, default)) of
        {ok, Dispatcher, Default} ->
            {ok, #task{
                dispatcher = Dispatcher,
                id = make_ref(),
                body = Body,
                route = Route,
                owner = Owner,
                deadline = py_deadline:after_ms(maps:get(timeout, Route, Default)),
                watched = if is_pid(Owner), Owner =/= self() -> monitor(process, Owner); true -> none end
            }};
        {error, Reason} ->
            {error, {py, Reason}}
    end.

queued(Key, #task{dispatcher = Dispatcher, id = Id} = Task, Tasks) ->
    Most = maps:get(most_open, Task#task.route, infinity),
    py_dispatcher_server:task(Dispatcher, Id, Task#task.body, Task#task.deadline, Task#task.owner, Most),
    opened(Key, Task, Tasks).

opened(Key, #task{dispatcher = Dispatcher, id = Id, watched = Watched} = Task, Before) ->
    #tasks{open = Open, keys = Keys} = Tasks = known(Dispatcher, Before),
    Known =
        case Watched of
            none -> Keys#{Id => Key};
            _ -> Keys#{Id => Key, Watched => Key}
        end,
    Tasks#tasks{open = Open#{Key => Task}, keys = Known}.

%% @doc The same with a task of the calling process's that any worker of its pool may run (see {@link py_route:is_free/1}); it waits for
%% {@link flush/1}, which comes before anything else is done with these tasks.
-spec queue(Key :: term(), py_wire:body(), py_route:route(), tasks()) -> {ok, tasks()} | {error, {py, py_error:reason()}}.
queue(Key, Body, Route, #tasks{untold = Untold} = Tasks) ->
    case new_task(Body, Route, self()) of
        {ok, #task{dispatcher = Dispatcher, id = Id, deadline = Deadline} = Task} ->
            One = {Id, Body, Deadline},
            Most = maps:get(most_open, Route, infinity),
            case Untold of
                {Dispatcher, Most, Others} -> {ok, opened(Key, Task, Tasks#tasks{untold = {Dispatcher, Most, [One | Others]}})};
                _ -> {ok, opened(Key, Task, (flush(Tasks))#tasks{untold = {Dispatcher, Most, [One]}})}
            end;
        {error, _} = Error ->
            Error
    end.

%% @doc Tell dispatchers of what was queued.
-spec flush(tasks()) -> tasks().
flush(#tasks{untold = none} = Tasks) ->
    Tasks;
flush(#tasks{untold = {Dispatcher, Most, Some}} = Tasks) ->
    py_dispatcher_server:tasks(Dispatcher, lists:reverse(Some), Most),
    Tasks#tasks{untold = none}.

known(Dispatcher, #tasks{dispatchers = Dispatchers} = Tasks) when is_map_key(Dispatcher, Dispatchers) ->
    Tasks;
known(Dispatcher, #tasks{dispatchers = Dispatchers, held = Held} = Tasks) ->
    Held andalso py_dispatcher_server:hold(Dispatcher),
    Tasks#tasks{dispatchers = Dispatchers#{Dispatcher => monitor(process, Dispatcher)}}.

%% @doc What a message to the calling process says.
-spec message(term(), tasks()) ->
    {answer, Key :: term(), py_pending:answer(), tasks()} | {dropped | begun, Key :: term(), tasks()} | {wait, tasks()} | unknown.
message({Id, Said}, #tasks{keys = Keys} = Tasks) when is_map_key(Id, Keys) ->
    #{Id := Key} = Keys,
    case Said of
        dropped -> {dropped, Key, forgotten(Key, Tasks)};
        begun -> {begun, Key, Tasks};
        Answer -> {answer, Key, seen(Answer), forgotten(Key, Tasks)}
    end;
message({'DOWN', Monitor, process, _, _}, #tasks{keys = Keys} = Tasks) when is_map_key(Monitor, Keys) ->
    #{Monitor := Key} = Keys,
    {answer, Key, {error, {py, cancelled}}, cancel(Key, Tasks)};
message({'DOWN', Monitor, process, Dispatcher, Reason}, #tasks{dispatchers = Dispatchers} = Tasks) when
    map_get(Dispatcher, Dispatchers) =:= Monitor
->
    {wait, ended(Dispatcher, Reason, Tasks#tasks{dispatchers = maps:remove(Dispatcher, Dispatchers)})};
message(Message, #tasks{pending = Pending, open = Open} = Tasks) ->
    case py_pending:message(Message, Pending) of
        {answer, Key, Answer, Left} -> {answer, Key, Answer, Tasks#tasks{pending = Left, open = maps:remove(Key, Open)}};
        {wait, Next} -> {wait, Tasks#tasks{pending = Next}};
        unknown -> unknown
    end.

seen({frame, Frame, Trust, {Worker, _} = Origin}) ->
    case py_send:seen(Frame, Trust, Worker) of
        {frame, _, _} -> {frame, Frame, Trust, Origin};
        {error, _} = Error -> Error
    end;
seen({error, _} = Error) ->
    Error.

%% One that has ended by itself had no tasks, since its pool was gone: what it had not read goes to its successor. What became
%% of the tasks of one that was killed nobody knows.
ended(Dispatcher, Reason, #tasks{open = Open} = Tasks) ->
    Lost = [{Key, Task} || {Key, #task{dispatcher = At} = Task} <- maps:to_list(Open), At =:= Dispatcher],
    lists:foldl(fun({Key, Task}, Acc) -> again(Reason, Key, Task, Acc) end, Tasks, Lost).

again(Reason, Key, #task{id = Id, route = Route} = Task, #tasks{keys = Keys} = Tasks) when
    Reason =:= normal; Reason =:= noproc; Reason =:= shutdown
->
    case py_dispatcher_server:find(maps:get(pool, Route, default)) of
        {ok, Next, _} -> queued(Key, Task#task{dispatcher = Next, id = make_ref()}, Tasks#tasks{keys = maps:remove(Id, Keys)});
        {error, Why} -> told(Id, Why, Tasks)
    end;
again(Reason, _Key, #task{id = Id}, Tasks) ->
    told(Id, {worker_down, Reason}, Tasks).

told(Id, Reason, Tasks) ->
    self() ! {Id, {error, {py, Reason}}},
    Tasks.

forgotten(Key, #tasks{open = Open, keys = Keys} = Tasks) ->
    {#task{id = Id, watched = Watched}, Left} = maps:take(Key, Open),
    Fewer = maps:remove(Id, Keys),
    case Watched of
        none ->
            Tasks#tasks{open = Left, keys = Fewer};
        _ ->
            demonitor(Watched),
            Tasks#tasks{open = Left, keys = maps:remove(Watched, Fewer)}
    end.

%% @doc Nobody wants the answer any more: the task ends, and none comes. What is over already is so still.
-spec cancel(Key :: term(), tasks()) -> tasks().
cancel(Key, #tasks{open = Open, pending = Pending} = Tasks) ->
    case Open of
        #{Key := #task{dispatcher = Dispatcher, id = Id}} ->
            py_dispatcher_server:cancel(Dispatcher, Id),
            forgotten(Key, Tasks);
        #{Key := pending} ->
            Tasks#tasks{pending = py_pending:cancel(Key, Pending), open = maps:remove(Key, Open)};
        #{} ->
            Tasks
    end.

%% @doc Take a task back if no worker has it: what became of that is a message. `begun': it does not wait in a dispatcher.
-spec drop(Key :: term(), tasks()) -> asked | begun.
drop(Key, #tasks{open = Open}) ->
    case Open of
        #{Key := #task{dispatcher = Dispatcher, id = Id}} ->
            py_dispatcher_server:drop(Dispatcher, Id),
            asked;
        #{} ->
            begun
    end.

%% @doc Have nothing more begun.
-spec hold(tasks()) -> tasks().
hold(#tasks{held = false, dispatchers = Dispatchers} = Tasks) ->
    lists:foreach(fun py_dispatcher_server:hold/1, maps:keys(Dispatchers)),
    Tasks#tasks{held = true};
hold(Tasks) ->
    Tasks.

-spec go_on(tasks()) -> tasks().
go_on(#tasks{held = true, dispatchers = Dispatchers} = Tasks) ->
    lists:foreach(fun py_dispatcher_server:go_on/1, maps:keys(Dispatchers)),
    Tasks#tasks{held = false};
go_on(Tasks) ->
    Tasks.

%% @doc Cancel all.
-spec close(tasks()) -> ok.
close(#tasks{open = Open, dispatchers = Dispatchers} = Tasks) ->
    _ = lists:foldl(fun cancel/2, Tasks, maps:keys(Open)),
    lists:foreach(fun(Monitor) -> demonitor(Monitor, [flush]) end, maps:values(Dispatchers)).
