%%% The application's environment.
-module(py_config_tests).

-include_lib("eunit/include/eunit.hrl").

environment_test_() ->
    {foreach, fun() -> application:get_env(py, pools) end,
        fun
            (undefined) -> application:unset_env(py, pools);
            ({ok, Before}) -> application:set_env(py, pools, Before)
        end,
        [
            {"a pool default exists without any", fun a_pool_default_exists_without_any/0},
            {"pools are a proplist or a map", fun pools_are_a_proplist_or_a_map/0},
            {"a default of one's own is kept", fun a_default_of_ones_own_is_kept/0},
            {"a bad pool is named", fun a_bad_pool_is_named/0},
            {"former cookies are three at most, and in no message", fun former_cookies_are_in_no_message/0}
        ]}.

a_pool_default_exists_without_any() ->
    application:unset_env(py, pools),
    ?assertMatch({ok, #{default := #{size := _}}}, py_config:pools()).

pools_are_a_proplist_or_a_map() ->
    [
        begin
            application:set_env(py, pools, Pools),
            {ok, Checked} = py_config:pools(),
            ?assertEqual([default, ml], lists:sort(maps:keys(Checked))),
            ?assertMatch(#{ml := #{size := 2}}, Checked)
        end
     || Pools <- [[{ml, #{size => 2}}], [{ml, [{size, 2}]}], #{ml => #{size => 2}}]
    ].

a_default_of_ones_own_is_kept() ->
    application:set_env(py, pools, [{default, #{size => 7}}]),
    ?assertMatch({ok, #{default := #{size := 7}}}, py_config:pools()).

former_cookies_are_in_no_message() ->
    ?assertEqual({ok, []}, py_config:former_cookies()),
    [
        begin
            application:set_env(py, former_cookies, Given),
            case Expected of
                ok -> ?assertEqual({ok, Given}, py_config:former_cookies());
                error -> ?assertEqual(nomatch, string:find(py_error:text({py, element(2, py_config:former_cookies())}), "secret"))
            end
        end
     || {Given, Expected} <- [
            {[a, b, c], ok}, {[], ok}, {[secret, b, c, d], error}, {secret, error}, {["secret"], error}, {[secret | secret], error}
        ]
    ],
    application:unset_env(py, former_cookies).

a_bad_pool_is_named() ->
    application:set_env(py, pools, [{ml, #{size => 0}}]),
    ?assertMatch({error, {bad_config, ml, {bad_option, size, 0, _}}}, py_config:pools()),
    [
        begin
            application:set_env(py, pools, Bad),
            ?assertMatch({error, {bad_config, pools, {bad_option, pools, _, _}}}, py_config:pools())
        end
     || Bad <- [7, [ml], [{"ml", #{}}]]
    ].

lfe_pys_keys_are_told_what_became_of_them_test() ->
    application:set_env(py, 'worker-count', 3),
    application:set_env(py, 'worker-cuont', 3),
    try
        {ok, Problems} = py_config:environment(),
        [Old, Unknown] = [unicode:characters_to_list(py_options:describe(Each)) || Each <- Problems],
        ?assertEqual("option 'worker-count' must be given as the option size of a pool: it is LFE py's, see docs/lfe.md", Old),
        ?assertMatch("unknown option 'worker-cuont'" ++ _, Unknown)
    after
        application:unset_env(py, 'worker-count'),
        application:unset_env(py, 'worker-cuont')
    end.
