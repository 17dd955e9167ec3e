%%% @doc Durable runs: the server and what must outlive it. Started with the first run, or by a start of the application that finds runs in
%%% its `state_dir'; where there are none there is no process and no file.
%%% @private
-module(py_runs_sup).
-behaviour(supervisor).

-export([start_link/1, ensure/0, resume/0, drain/0]).
-export([init/1]).

-spec start_link(file:filename_all()) -> supervisor:startlink_ret().
start_link(Directory) -> supervisor:start_link({local, ?MODULE}, ?MODULE, Directory).

%% @doc Have the server run.
-spec ensure() -> ok | {error, {py, py_error:reason()}}.
ensure() ->
    case py_run_table:is_read() of
        true ->
            ok;
        false ->
            case py_store:directory() of
                {error, _} = Error -> Error;
                {_, Directory} -> start(Directory)
            end
    end.

%% @doc The same where the directory that the application names has runs in it: they go on. What keeps them from it is told in the log.
-spec resume() -> ok.
resume() ->
    case py_store:directory() of
        {configured, Directory} ->
            case filelib:is_regular(filename:join(Directory, <<"journal">>)) andalso ensure() of
                {error, Error} -> logger:error("runs: ~ts", [py_error:text(Error)], #{domain => [py]});
                _ -> ok
            end;
        _ ->
            ok
    end.

%% @doc The application is about to stop: what runs may end, nothing more begins.
-spec drain() -> ok.
drain() ->
    _ = catch py_runs ! drain,
    ok.

start(Directory) ->
    Child = #{id => ?MODULE, start => {?MODULE, start_link, [Directory]}, type => supervisor},
    try supervisor:start_child(py_sup, Child) of
        {ok, _} -> ok;
        {error, {already_started, _}} -> restarted();
        {error, already_present} -> _ = supervisor:delete_child(py_sup, ?MODULE), start(Directory);
        {error, {{shutdown, {failed_to_start_child, _, {py, _} = Reason}}, _}} -> {error, Reason};
        {error, {shutdown, {failed_to_start_child, _, {py, _} = Reason}}} -> {error, Reason};
        {error, Reason} -> {error, {py, {state_dir, py_store:text(Directory), lists:flatten(io_lib:format("~tP", [Reason, 20]))}}}
    catch
        exit:_ -> {error, {py, not_started}}
    end.

%% It is between two lives of the server, or the server reads.
restarted() ->
    case py_run_table:is_read() of
        true -> ok;
        false -> receive after 5 -> ensure() end
    end.

-spec init(file:filename_all()) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init(Directory) ->
    py_run_attempt:new(),
    py_run_table:new(),
    {ok, {#{strategy => one_for_one, intensity => 5, period => 10}, [#{id => py_runs, start => {py_runs, start_link, [Directory]}, shutdown => 10_000}]}}.
